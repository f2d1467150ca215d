"""Word times for finals, by a forced aligner on the engine's thread. A failure costs the times, never the final.

Knows the aligner's one call. Refuses to know streams, sessions and when it runs.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .metrics import Metrics
from .work import AlignedWord

logger = logging.getLogger(__name__)


class TimedWord(Protocol):
    """A word and the samples between which it lies, from the clip's start."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class AlignerLike(Protocol):
    """What is asked of an aligner: float32 mono 16 kHz samples and their text to its words in order."""

    def align(self, samples: NDArray[np.float32], text: str) -> Sequence[TimedWord]: ...


class WordTiming:
    """The aligner, or none."""

    def __init__(self, aligner: AlignerLike | None, metrics: Metrics) -> None:
        self._aligner = aligner
        self._metrics = metrics

    def words(self, samples: NDArray[np.float32], text: str) -> tuple[AlignedWord, ...] | None:
        """The words of a final; None without an aligner or where it failed."""
        if self._aligner is None:
            return None
        try:
            found = self._aligner.align(samples, text)
        except Exception:  # the border to the model: the final is worth more than its times
            logger.exception("aligning %.1f s failed", len(samples) / 16_000)
            self._metrics.alignment_failures.inc()
            return None
        return tuple(AlignedWord(word.text, word.start, word.end) for word in found)
