"""Steps a batch of streams on the recognizer, and keeps a stream that breaks it from taking others along.

Knows the recognizer's four calls, the open streams and their audio. Refuses to know time, threads, sessions and
order: the scheduler chose the batch, the engine publishes what comes back.

A step that raises leaves the recognizer's states of that batch unknown. So each stream's audio is kept while it is
open (an utterance is bounded), and after a failure the streams are opened anew, fed all they had, and tried again in
halves, down to single streams. A stream that fails alone is given up; every other one ends up where it would have
been, since a final depends on its own samples only.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from steno.models.recognizer import CacheFull, Hypothesis, StreamOptions

logger = logging.getLogger(__name__)

Samples: TypeAlias = NDArray[np.float32]
Key = TypeVar("Key", bound=Hashable)
S = TypeVar("S")
T = TypeVar("T")

_NOTHING: Samples = np.empty(0, np.float32)


class RecognizerLike(Protocol[S]):
    """What the engine asks of a recognizer; `S` is its own state of one stream. `slots`: streams that fit, None for any
    number; `open` and `step` may raise CacheFull.
    """

    @property
    def slots(self) -> int | None: ...
    def warm_up(self) -> None: ...
    def open(self, options: StreamOptions) -> S: ...
    def feed(self, stream: S, samples: Samples, *, final: bool = False) -> None: ...
    def step(self, streams: Sequence[S]) -> list[Hypothesis]: ...
    def close(self, stream: S) -> None: ...


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The model raised on this stream; it is closed. `reason` is fit for the client's eyes."""

    reason: str


Outcome: TypeAlias = Hypothesis | StepFailed


@dataclass(slots=True)
class _Stream(Generic[S]):
    options: StreamOptions
    state: S
    audio: list[Samples] = field(default_factory=list)
    finished: bool = False


class Stepper(Generic[Key, S]):
    """The open streams by key."""

    def __init__(self, recognizer: RecognizerLike[S]) -> None:
        self._recognizer = recognizer
        self._streams: dict[Key, _Stream[S]] = {}
        self.failures = 0
        """Calls of the recognizer that raised so far."""

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, key: Key) -> bool:
        return key in self._streams

    def open(self, key: Key, options: StreamOptions) -> StepFailed | None:
        """Open a stream; the failure, and no stream, when the recognizer refuses the options."""
        assert key not in self._streams, key
        state = self._attempt("opening a stream", lambda: self._recognizer.open(options))
        if isinstance(state, StepFailed):
            return state
        self._streams[key] = _Stream(options, state)
        return None

    def feed(self, key: Key, samples: Samples) -> StepFailed | None:
        """Queue audio: float32, mono, 16 kHz, any length. The failure, and no stream, when it is refused."""
        stream = self._streams[key]
        assert not stream.finished, key
        stream.audio.append(samples)
        return self._fed(key, samples, final=False)

    def finish(self, key: Key) -> StepFailed | None:
        """No more audio comes: steps from now on work towards the final. Fails as `feed` does."""
        self._streams[key].finished = True
        return self._fed(key, _NOTHING, final=True)

    def _fed(self, key: Key, samples: Samples, *, final: bool) -> StepFailed | None:
        state = self._streams[key].state
        failed = self._attempt("feeding a stream", lambda: self._recognizer.feed(state, samples, final=final))
        return None if failed is None else self._give_up(key, failed)

    def finished(self, key: Key) -> bool:
        """True after `finish`."""
        return self._streams[key].finished

    def audio(self, key: Key) -> Samples:
        """All that was fed to the stream."""
        return np.concatenate([_NOTHING, *self._streams[key].audio])

    def close(self, key: Key) -> None:
        """Free the stream; unknown keys are fine."""
        stream = self._streams.pop(key, None)
        if stream is not None:
            self._attempt("closing a stream", lambda: self._recognizer.close(stream.state))

    def step(self, keys: Sequence[Key]) -> list[tuple[Key, Outcome]]:
        """One outcome per key, in order. Streams that failed are closed; finals are left to the caller to close."""
        return self._step(keys, again=True)

    def _step(self, keys: Sequence[Key], *, again: bool) -> list[tuple[Key, Outcome]]:
        """`again`: whether a single stream that fails gets a second try."""
        hypotheses = self._attempt(f"a step over {len(keys)} streams", lambda: self._run(keys))
        if not isinstance(hypotheses, StepFailed):
            return list(zip(keys, hypotheses, strict=True))
        if len(keys) == 1 and not again:
            return [(keys[0], self._give_up(keys[0], hypotheses))]
        outcomes: list[tuple[Key, Outcome]] = [
            (key, self._give_up(key, failure))
            for key in keys
            if (failure := self._attempt("opening a stream anew", partial(self._reopen, key)))
        ]
        kept = [key for key in keys if key in self._streams]
        middle = len(kept) // 2
        for half in (kept[:middle], kept[middle:]):
            if half:
                outcomes += self._step(half, again=False)
        return outcomes

    def _run(self, keys: Sequence[Key]) -> list[Hypothesis]:
        hypotheses = self._recognizer.step([self._streams[key].state for key in keys])
        if len(hypotheses) != len(keys):
            raise RuntimeError(f"{len(hypotheses)} hypotheses for {len(keys)} streams")
        return hypotheses

    def _reopen(self, key: Key) -> None:
        """Put the stream back to where it was, from its audio."""
        stream = self._streams[key]
        self._recognizer.close(stream.state)
        stream.state = self._recognizer.open(stream.options)
        for samples in stream.audio:
            self._recognizer.feed(stream.state, samples)
        if stream.finished:
            self._recognizer.feed(stream.state, _NOTHING, final=True)

    def _give_up(self, key: Key, failure: StepFailed) -> StepFailed:
        stream = self._streams.pop(key)
        self._attempt("closing a failed stream", lambda: self._recognizer.close(stream.state))
        return failure

    def _attempt(self, what: str, call: Callable[[], T]) -> T | StepFailed:
        """The border to the model: whatever it raises costs streams, never the thread."""
        try:
            return call()
        except CacheFull as error:
            self.failures += 1
            logger.warning("%s failed: %s", what, error)
            return StepFailed(str(error))
        except Exception as error:
            self.failures += 1
            logger.exception("%s failed", what)
            return StepFailed(f"the model failed on this utterance ({type(error).__name__})")
