"""Cuts a stream of samples into segments. Pure; positions are samples at 16 kHz from the start of the stream.

In: samples in any cuts, commits, gaps. Out: per segment one `SegmentStart`, its audio in order without holes or
overlaps, one `SegmentEnd` at the position where the audio ends. What comes out does not depend on how the samples were
cut on their way in, only on the order of samples, commits and gaps. Knows no text, wire, formats or wall clock.

With a VAD a segment opens when `min_speech` of speech was heard within twice that time, and reaches back by the
pre-roll; it ends after `endpoint` of silence, of which only the post-roll belongs to it. Silence after the post-roll is
held until it is known to be a pause (speech goes on: the audio is handed out) or the end.

Without a VAD a segment opens with the first sample and only the caller (or the limit) ends it.

Near the segment limit audio is handed out only up to the quietest point so far. A real pause ends the segment there;
a quiet moment, or the limit, cuts it at that point, and what was held begins the next one.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .config import SessionOptions
from .protocol import SpeechEndReason
from .vad import FRAME, Vad
from .work import SAMPLE_RATE, Samples

_MS = SAMPLE_RATE // 1000
_QUIET_FRAMES = 5  # a cut is judged by the power of 100 ms
_QUIET = 10**-2.5  # 25 dB below the loudest 100 ms of the segment is a pause


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """A segment begins at `at`."""

    at: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentAudio:
    """The next audio of the open segment, beginning at `at`."""

    at: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class SegmentPause:
    """The speaker is silent: all audio worth hearing is out, and this may become the end."""

    at: int


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """The open segment ended at `at`."""

    at: int
    reason: SpeechEndReason


ChunkerEvent = SegmentStart | SegmentAudio | SegmentPause | SegmentEnd


class Chunker:
    """One stream's segments. Holds at most a few seconds of audio, whatever the length of the stream.

    Args:
        options: lengths of pre-roll, post-roll, minimum speech, endpoint, segment limit and cut search.
        vad: the frame classifier, None where the caller ends segments.
        at: position of the first sample.
    """

    def __init__(self, options: SessionOptions, vad: Vad | None, *, at: int = 0) -> None:
        self._vad = vad
        self._pre_roll = options.pre_roll_ms * _MS
        self._post_roll = options.post_roll_ms * _MS
        self._endpoint = options.endpoint_ms * _MS
        self._limit = options.max_segment_ms * _MS
        self._search = options.cut_search_ms * _MS
        self._onset_frames = -(-options.min_speech_ms * _MS // FRAME)
        self._onset: deque[bool] = deque(maxlen=2 * self._onset_frames)
        self._audio = np.zeros(0, np.float32)  # kept audio
        self._kept_from = at  # position of its first sample
        self._heard = at  # position up to which frames were judged
        self._start: int | None = None  # of the open segment
        self._out = at  # position up to which audio was handed out, or may never be
        self._speech_end = at  # end of the last speech frame
        self._paused = False
        self._powers: deque[float] = deque(maxlen=_QUIET_FRAMES)
        self._loudest = 0.0
        self._cut: int | None = None  # the quietest point so far, while one is looked for
        self._cut_power = 0.0
        self._events: list[ChunkerEvent] = []

    @property
    def position(self) -> int:
        """Samples of stream time so far, gaps included."""
        return self._kept_from + len(self._audio)

    @property
    def open(self) -> bool:
        """True between SegmentStart and SegmentEnd."""
        return self._start is not None

    def push(self, samples: Samples) -> list[ChunkerEvent]:
        """Hear the next samples, shape [n]."""
        self._audio = np.concatenate((self._audio, samples))
        whole = (self.position - self._heard) // FRAME * FRAME
        frames = self._slice(self._heard, self._heard + whole)
        spoken: Sequence[bool] = [True] * (whole // FRAME) if self._vad is None else self._vad.classify(frames)
        powers = np.einsum("nf,nf->n", frames.reshape(-1, FRAME), frames.reshape(-1, FRAME)) / FRAME
        for speech, power in zip(spoken, powers.tolist(), strict=True):
            self._heard += FRAME
            self._hear(speech, power)
        return self._drain()

    def commit(self, reason: SpeechEndReason = "commit") -> list[ChunkerEvent]:
        """End the open segment at the present position, all audio so far included. Without one nothing happens."""
        if self._start is None and self._vad is None and self._out < self.position:
            self._open(self._out)
        if self._start is not None:
            self._hand_out(self.position)
            self._end(reason)
            self._forget()
        return self._drain()

    def clear(self) -> list[ChunkerEvent]:
        """End the open segment at the present position; audio that was not handed out yet is dropped."""
        if self._start is not None:
            self._out = self.position
            self._end("clear")
            self._forget()
        return self._drain()

    def gap(self, samples: int) -> list[ChunkerEvent]:
        """Let time pass without audio. Shorter than the endpoint it is heard as silence, else it ends the segment."""
        if samples < self._endpoint:
            return self.push(np.zeros(samples, np.float32))
        events = self.commit("gap")
        self._forget()
        self._drain()
        self._kept_from += samples
        self._heard = self._out = self._kept_from
        return events

    def _hear(self, speech: bool, power: float) -> None:
        self._powers.append(power)
        if speech:
            self._speech_end = self._heard
        if self._start is None:
            self._listen(speech)
        if self._start is not None:
            self._go_on(speech)

    def _listen(self, speech: bool) -> None:
        if self._vad is None:
            self._open(self._out)
            return
        self._onset.append(speech)
        if sum(self._onset) >= self._onset_frames:
            first = self._heard - (len(self._onset) - list(self._onset).index(True)) * FRAME
            self._open(max(self._out, first - self._pre_roll))

    def _go_on(self, speech: bool) -> None:
        assert self._start is not None
        silence = self._heard - self._speech_end
        if silence >= self._endpoint:
            self._hand_out(min(self._heard, self._speech_end + self._post_roll))
            self._end("endpoint")
            return
        reach = min(self._heard, self._speech_end + self._post_roll)
        if self._heard - self._start > self._limit - self._search:
            if self._look_for_cut():
                return
            assert self._cut is not None
            reach = min(reach, self._cut)
        else:
            self._loudest = max(self._loudest, self._recent_power())
        self._hand_out(reach)
        if speech:
            self._paused = False
        elif silence > self._post_roll and not self._paused:
            self._paused = True
            self._events.append(SegmentPause(self._out))

    def _look_for_cut(self) -> bool:
        """Follow the quietest point; True if the segment was cut there."""
        assert self._start is not None
        if self._cut is None:
            self._cut, self._cut_power = self._out, float("inf")
            self._powers = deque([self._powers[-1]], maxlen=_QUIET_FRAMES)
        if len(self._powers) == _QUIET_FRAMES and self._recent_power() < self._cut_power:
            middle = self._heard - _QUIET_FRAMES * FRAME // 2
            self._cut, self._cut_power = max(middle, self._out), self._recent_power()
        if self._heard - self._speech_end >= _QUIET_FRAMES * FRAME:
            self._hand_out(min(self._heard, self._speech_end + self._post_roll))
            self._end("limit")
            return True
        if self._cut_power > self._loudest * _QUIET and self._heard + FRAME - self._start <= self._limit:
            return False
        cut = self._cut
        self._hand_out(cut)
        self._end("limit")
        self._open(cut)
        self._hand_out(self._heard)
        return True

    def _recent_power(self) -> float:
        return sum(self._powers) / len(self._powers)

    def _open(self, at: int) -> None:
        self._start = self._out = at
        self._cut = None
        self._paused = False
        self._loudest = 0.0
        self._onset.clear()
        self._events.append(SegmentStart(at))

    def _end(self, reason: SpeechEndReason) -> None:
        self._events.append(SegmentEnd(self._out, reason))
        self._start = None

    def _forget(self) -> None:
        """What was heard so far begins no segment any more; the frame grid starts anew here."""
        self._heard = self._out = self.position
        self._onset.clear()

    def _hand_out(self, to: int) -> None:
        if to > self._out:
            self._events.append(SegmentAudio(self._out, self._slice(self._out, to).copy()))
            self._out = to

    def _slice(self, start: int, end: int) -> Samples:
        return self._audio[start - self._kept_from : end - self._kept_from]

    def _drain(self) -> list[ChunkerEvent]:
        needed = self._out
        if self._start is None:
            window = self._heard - self._pre_roll - (self._onset.maxlen or 0) * FRAME
            needed = max(needed, min(window, self._heard))
        self._audio = self._audio[needed - self._kept_from :].copy()
        self._kept_from = needed
        events, self._events = _joined(self._events), []
        return events


def _joined(events: list[ChunkerEvent]) -> list[ChunkerEvent]:
    """The same events with neighbouring audio joined, so that a big message makes one piece of audio."""
    joined: list[ChunkerEvent] = []
    run: list[SegmentAudio] = []
    for event in [*events, None]:
        if isinstance(event, SegmentAudio):
            run.append(event)
            continue
        if run:
            joined.append(SegmentAudio(run[0].at, np.concatenate([each.samples for each in run])))
            run = []
        if event is not None:
            joined.append(event)
    return joined
