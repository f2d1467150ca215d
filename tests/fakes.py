"""Stand-ins at the borders: a clock that moves when told, a recognizer whose text is a function of the samples.

No randomness, no time, no torch in what they do: the same samples always give the same text, at a counted cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steno.models.recognizer import CacheFull, Hypothesis, StreamOptions

WORD_SAMPLES = 1600
"""The fake hears one word in each 100 ms that is not silent."""

POISON = 0.96875
"""A sample of exactly this value makes every step over its stream raise."""


@dataclass(slots=True)
class VirtualClock:
    """Seconds that pass only through `advance`."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(slots=True)
class FakeStream:
    """The fake's state of one stream; `broken` after a step over it raised, as real tensors would be."""

    stream_id: int
    options: StreamOptions
    audio: list[NDArray[np.float32]] = field(default_factory=list)
    finished: bool = False
    broken: bool = False


class FakePoisoned(RuntimeError):
    """What a step over a poisoned stream raises."""


def words_of(samples: NDArray[np.float32]) -> list[str]:
    """The fake's transcription, a word for each whole 100 ms: `w` and the rounded mean absolute level."""
    blocks = samples[: len(samples) // WORD_SAMPLES * WORD_SAMPLES].reshape(-1, WORD_SAMPLES)
    levels = np.abs(blocks).mean(axis=1)
    return [f"w{round(float(level) * 1000)}" for level in levels if level > 0.001]


def tone(level: float, seconds: float) -> NDArray[np.float32]:
    """Samples that the fake hears as `w{level * 1000}` every 100 ms."""
    return np.full(round(seconds * 16_000), level, np.float32)


class FakeRecognizer:
    """A recognizer that satisfies the engine's protocol.

    `steps` records the stream ids of every step; `before_step` runs inside each step, before it answers (tests let
    virtual time pass there, or block on an event); `steps_to_final` makes finals take several steps; more than `slots`
    streams are refused.
    """

    def __init__(
        self,
        *,
        before_step: Callable[[Sequence[FakeStream]], None] | None = None,
        steps_to_final: int = 1,
        slots: int | None = None,
    ) -> None:
        self.slots = slots
        self.warmed_up = False
        self.name = "fake"
        self.languages: tuple[str, ...] = ("English", "French", "German")
        self.steps: list[list[int]] = []
        self.open_streams: dict[int, FakeStream] = {}
        self._before_step = before_step
        self._steps_to_final = steps_to_final
        self._final_steps: dict[int, int] = {}
        self._opened = 0

    def warm_up(self) -> None:
        self.warmed_up = True

    def open(self, options: StreamOptions = StreamOptions()) -> FakeStream:  # noqa: B008 - frozen
        if self.slots is not None and len(self.open_streams) >= self.slots:
            raise CacheFull(f"all {self.slots} slots of the device's memory are in use")
        if options.language is not None and options.language not in self.languages:
            raise ValueError(f"language is {options.language!r}, expected one of {self.languages}")
        stream = FakeStream(self._opened, options)
        self._opened += 1
        self.open_streams[stream.stream_id] = stream
        return stream

    def feed(self, stream: FakeStream, samples: NDArray[np.float32], *, final: bool = False) -> None:
        assert stream.stream_id in self.open_streams, "fed after close"
        assert not stream.finished, "fed after the final"
        if not np.isfinite(samples).all():
            raise ValueError("samples are not finite")
        stream.audio.append(samples)
        stream.finished = final

    def step(self, streams: Sequence[FakeStream]) -> list[Hypothesis]:
        self.steps.append([stream.stream_id for stream in streams])
        if self._before_step is not None:
            self._before_step(streams)
        for stream in streams:
            assert not stream.broken, "stepped again without being opened anew"
        if any((samples == POISON).any() for stream in streams for samples in stream.audio):
            for stream in streams:
                stream.broken = True
            raise FakePoisoned("poison in the batch")
        return [self._hypothesis(stream) for stream in streams]

    def close(self, stream: FakeStream) -> None:
        del self.open_streams[stream.stream_id]

    def _hypothesis(self, stream: FakeStream) -> Hypothesis:
        samples = np.concatenate([np.empty(0, np.float32), *stream.audio])
        words = words_of(samples)
        pieces = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        final = False
        if stream.finished:
            taken = self._final_steps.get(stream.stream_id, 0) + 1
            self._final_steps[stream.stream_id] = taken
            final = taken >= self._steps_to_final
        return Hypothesis(
            stream_id=stream.stream_id,
            token_ids=tuple(int(word[1:]) for word in words),
            text="".join(pieces),
            language=(stream.options.language or "English") if words else None,
            token_ends=tuple(ends),
            logprobs=(-0.1,) * len(words),
            samples_seen=len(samples),
            final=final,
            truncated=False,
        )


@dataclass(frozen=True, slots=True)
class FakeWord:
    """A word of the fake aligner."""

    text: str
    start: int
    end: int


class FakeAligner:
    """Knows that the fake recognizer's n-th word lies in the n-th 100 ms; raises where `POISON` is in the samples."""

    def align(self, samples: NDArray[np.float32], text: str) -> list[FakeWord]:
        if (samples == POISON).any():
            raise FakePoisoned("poison in the clip")
        return [
            FakeWord(word, number * WORD_SAMPLES, min((number + 1) * WORD_SAMPLES, len(samples)))
            for number, word in enumerate(text.split())
        ]
