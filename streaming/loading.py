"""From `EngineOptions` to an engine with its model: beside the engine itself, the only place that imports models."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from steno.models.aligner import ForcedAligner
from steno.models.device import choose_device, use_threads
from steno.models.languages import NAMES
from steno.models.recognizer import Recognizer, StreamState

from .config import EngineOptions
from .engine import Engine
from .metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine, not started yet, and what its model says of itself."""

    engine: Engine[StreamState]
    model: str
    device: str
    numeric_mode: str
    languages: tuple[str, ...]
    language_codes: Mapping[str, str]
    aligner: bool


def load_engine(options: EngineOptions, metrics: Metrics) -> LoadedEngine:
    """Load the models that the options name.

    Raises ValueError for a device or number type that is not there, CheckpointError for a model that is not.
    """
    device = choose_device(options.device)
    use_threads(options.threads)
    recognizer = Recognizer.load(
        options.model,
        device=device,
        dtype=options.dtype,
        window_s=options.window_s,
        context_limit_s=options.context_limit_s,
    )
    logger.info("%s on %s in %s", recognizer.name, device, recognizer.numeric_mode)
    aligner = None
    if options.aligner is not None:
        aligner = ForcedAligner.load(options.aligner, device=device, dtype=options.dtype)
    return LoadedEngine(
        engine=Engine(recognizer, options, metrics, aligner=aligner),
        model=recognizer.name,
        device=device,
        numeric_mode=recognizer.numeric_mode,
        languages=recognizer.languages,
        language_codes=NAMES,
        aligner=aligner is not None,
    )
