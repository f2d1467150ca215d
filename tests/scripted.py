"""Stand-ins for the session's borders: a VAD that answers from a script or from the level, hypotheses written down."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np

from steno.streaming.vad import FRAME
from steno.streaming.work import Samples


class ScriptedVad:
    """Answers frame after frame from a script; after its end with silence."""

    def __init__(self, script: Iterable[bool]) -> None:
        self._answers = chain(script, repeat(False))

    def classify(self, samples: Samples) -> list[bool]:
        """See `steno.streaming.vad.Vad`."""
        assert len(samples) % FRAME == 0, "asked for part of a frame"
        return [next(self._answers) for _ in range(len(samples) // FRAME)]


class LevelVad:
    """Speech is what is loud: a function of the frame alone."""

    def __init__(self, threshold: float = 0.05) -> None:
        self._threshold = threshold

    def classify(self, samples: Samples) -> list[bool]:
        """See `steno.streaming.vad.Vad`."""
        assert len(samples) % FRAME == 0, "asked for part of a frame"
        return [bool(level > self._threshold) for level in np.abs(samples).reshape(-1, FRAME).mean(axis=1)]


@dataclass(frozen=True, slots=True)
class Said:
    """A hypothesis with the text, as from a recognizer after `samples_seen` samples."""

    text: str
    samples_seen: int = 0
    final: bool = False
    language: str | None = "English"
    token_ids: tuple[int, ...] = ()
    token_ends: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    truncated: bool = False
