"""The values that a session and the engine exchange. No behaviour, no tensors, no sockets.

A session hands out `Work`; the engine answers with `Result`s. Both name the session's segment. Per segment the order of
work is OpenStream, any number of FeedAudio and Update, then Finish: exactly one final `HypothesisReady`, or one
`StreamFailed`, comes back. Cancel may come at any time after OpenStream, also after Finish, and ends the segment:
nothing comes back. A `StreamFailed` ends it too: whatever work on it is still under way is ignored.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .transcript import Hypothesis

Samples = NDArray[np.float32]
"""Mono audio at 16 kHz, shape [n], -1..1."""

SAMPLE_RATE = 16000
"""Hz; all audio inside has this rate, and all sample offsets inside count at it."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Begin a segment. `language` forces one (English name), `languages` allows a set, () any."""

    segment: int
    language: str | None
    languages: tuple[str, ...]
    context: str
    words: bool


@dataclass(frozen=True, slots=True, eq=False)
class FeedAudio:
    """The next samples of the segment. Owned by the receiver: nobody writes to them any more."""

    segment: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Update:
    """A hypothesis is wanted of what was fed so far, best within `interval_ms`.

    The engine keeps at most one pending update per segment: a later one replaces it.
    """

    segment: int
    interval_ms: int


@dataclass(frozen=True, slots=True)
class Finish:
    """No more audio: the final hypothesis is wanted."""

    segment: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """The segment is of no interest any more; nothing shall come back."""

    segment: int


Work = OpenStream | FeedAudio | Update | Finish | Cancel


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """A word of a final and where it lies, in samples from the segment's first sample."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class HypothesisReady:
    """A hypothesis of the segment; `words` only beside a final one and where an aligner ran."""

    segment: int
    hypothesis: Hypothesis
    words: tuple[AlignedWord, ...] | None = None


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The engine gave the segment up; `message` is fit for the client's eyes."""

    segment: int
    message: str


@dataclass(frozen=True, slots=True)
class LoadChanged:
    """The engine now serves updates no more often than each `interval_ms`."""

    interval_ms: int


Result = HypothesisReady | StreamFailed | LoadChanged
