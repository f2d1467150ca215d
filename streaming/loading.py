"""From `EngineOptions` to an engine with its model: beside the engine itself, the only place that imports models."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from steno.models.aligner import ForcedAligner
from steno.models.device import choose_device, parse_bytes, use_threads
from steno.models.languages import NAMES
from steno.models.recognizer import Recognizer, StreamState

from .config import EngineOptions
from .engine import Engine
from .metrics import Metrics

logger = logging.getLogger(__name__)

ACCELERATOR_BATCH = 128
ACCELERATOR_STEP_MS = 100
"""Half of what an update may take: it waits for the step before its own."""


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
    memory = None if options.memory is None else parse_bytes(options.memory)
    aligner = None
    if options.aligner is not None:  # first, for the recognizer's slots take what memory is left
        aligner = ForcedAligner.load(options.aligner, device=device, dtype=options.dtype)
    recognizer = Recognizer.load(
        options.model,
        device=device,
        dtype=options.dtype,
        window_s=options.window_s,
        context_limit_s=options.context_limit_s,
        memory=memory,
    )
    logger.info("%s on %s in %s, slots: %s", recognizer.name, device, recognizer.numeric_mode, recognizer.slots)
    return LoadedEngine(
        engine=Engine(recognizer, paced_for(options, recognizer), metrics, aligner=aligner),
        model=recognizer.name,
        device=device,
        numeric_mode=recognizer.numeric_mode,
        languages=recognizer.languages,
        language_codes=NAMES,
        aligner=aligner is not None,
    )


def paced_for(options: EngineOptions, recognizer: Recognizer) -> EngineOptions:
    """The options with what they leave to the device: an accelerator takes larger batches, in less time."""
    if recognizer.slots is None:
        return options
    return replace(
        options,
        max_batch=options.max_batch or ACCELERATOR_BATCH,
        step_budget_ms=options.step_budget_ms or ACCELERATOR_STEP_MS,
    )
