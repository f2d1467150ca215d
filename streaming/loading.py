"""From `EngineOptions` to an engine with its model: beside the engine itself, the only place that imports models."""

from collections.abc import Mapping
from dataclasses import dataclass

from steno.models.aligner import ForcedAligner
from steno.models.device import choose_device, choose_dtype
from steno.models.languages import NAMES
from steno.models.recognizer import Recognizer, StreamState

from .config import EngineOptions
from .engine import Engine
from .metrics import Metrics


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine, not started yet, and what its model says of itself."""

    engine: Engine[StreamState]
    model: str
    device: str
    languages: tuple[str, ...]
    language_codes: Mapping[str, str]
    aligner: bool


def load_engine(options: EngineOptions, metrics: Metrics) -> LoadedEngine:
    """Load the models that the options name.

    Raises ValueError for a device or number type that is not there, CheckpointError for a model that is not.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    recognizer = Recognizer.load(options.model, device=device, dtype=dtype, window_s=options.window_s)
    aligner = None
    if options.aligner is not None:
        aligner = ForcedAligner.load(options.aligner, device=device, dtype=dtype)
    return LoadedEngine(
        engine=Engine(recognizer, options, metrics, aligner=aligner),
        model=recognizer.name,
        device=device,
        languages=recognizer.languages,
        language_codes=NAMES,
        aligner=aligner is not None,
    )
