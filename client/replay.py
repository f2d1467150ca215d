"""What the client has said: audio and messages at sample positions, kept until the server has transcribed them.

Pure: knows positions, bounds and what must be said again after a broken connection. Refuses to know sockets, time and
the meaning of the audio. Positions are samples per channel at the client's own rate, from the first one sent.
"""

from collections import deque
from dataclasses import dataclass

from steno.streaming.protocol import Clear, Commit, Gap, Stop

Frame = bytes | Commit | Clear | Gap | Stop


@dataclass(frozen=True, slots=True)
class _Entry:
    """One frame; `start` and `end` are equal where it has no length in time."""

    start: int
    end: int
    frame: Frame


class Replay:
    """A log of frames with a cursor: before it what was sent, from it on what is to be sent.

    `limit_samples` bounds the sent part: the oldest audio goes first. The unsent part is bounded by the caller, who
    looks at `unsent_samples` before adding more.
    """

    def __init__(self, *, frame_bytes: int, limit_samples: int) -> None:
        """`frame_bytes`: bytes of one sample of all channels."""
        if frame_bytes < 1 or limit_samples < 1:
            raise ValueError(f"sizes must be positive, got {frame_bytes} bytes, {limit_samples} samples")
        self._frame_bytes = frame_bytes
        self._limit_samples = limit_samples
        self._sent: deque[_Entry] = deque()
        self._unsent: deque[_Entry] = deque()
        self._end = 0
        self._cursor = 0
        self._stopped = False

    @property
    def end_samples(self) -> int:
        """Position after the last frame added."""
        return self._end

    @property
    def cursor_samples(self) -> int:
        """Position after the last frame sent."""
        return self._cursor

    @property
    def unsent_samples(self) -> int:
        return self._end - self._cursor

    @property
    def start_samples(self) -> int:
        """Position of the oldest audio that can still be sent again."""
        return self._sent[0].start if self._sent else self._cursor

    def add(self, frame: Frame) -> None:
        """Append a frame. Raises ValueError for audio that is not whole samples, or anything after Stop."""
        if self._stopped:
            raise ValueError("nothing can be sent after finish()")
        length = 0
        if isinstance(frame, bytes):
            length, odd = divmod(len(frame), self._frame_bytes)
            if odd:
                raise ValueError(f"{len(frame)} bytes of audio, expected a multiple of {self._frame_bytes}")
            if not length:
                return
        elif isinstance(frame, Gap):
            length = frame.samples
        self._stopped = isinstance(frame, Stop)
        self._unsent.append(_Entry(self._end, self._end + length, frame))
        self._end += length

    def next(self) -> Frame | None:
        """The next frame to send, or None; it counts as sent from now on."""
        if not self._unsent:
            return None
        entry = self._unsent.popleft()
        self._sent.append(entry)
        self._cursor = entry.end
        while self._cursor - self._sent[0].start > self._limit_samples and len(self._sent) > 1:
            self._sent.popleft()
        return entry.frame

    def forget(self, before: int) -> None:
        """Sent audio before this position will never be needed again."""
        while self._sent and _is_before(self._sent[0], before):
            self._sent.popleft()

    def conclude(self) -> None:
        """The other side has everything."""
        self._sent.clear()
        self._unsent.clear()
        self._cursor = self._end

    def rewind(self, to: int) -> int:
        """Go on from position `to`; messages that stand exactly there are said again.

        Returns how many samples after `to` are gone for good: a Gap takes their place, so that time stays true.
        Raises ValueError when `to` lies ahead of what was sent.
        """
        if not 0 <= to <= self._cursor:
            raise ValueError(f"position {to} was never sent, expected 0 to {self._cursor}")
        while self._sent and not _is_before(self._sent[-1], to):
            self._unsent.appendleft(self._sent.pop())
        first = self._unsent[0].start if self._unsent else self._end
        if first < to:
            had, lacked = self._cut(self._unsent.popleft(), to)
            self._sent.append(had)
            self._unsent.appendleft(lacked)
        elif first > to:
            self._unsent.appendleft(_Entry(to, first, Gap(samples=first - to)))
        self._cursor = to
        return max(0, first - to)

    def _cut(self, entry: _Entry, to: int) -> tuple[_Entry, _Entry]:
        had, lacked = to - entry.start, entry.end - to
        if isinstance(entry.frame, bytes):
            border = had * self._frame_bytes
            parts: tuple[Frame, Frame] = (entry.frame[:border], entry.frame[border:])
        else:
            parts = (Gap(samples=had), Gap(samples=lacked))
        return _Entry(entry.start, to, parts[0]), _Entry(to, entry.end, parts[1])


def _is_before(entry: _Entry, position: int) -> bool:
    return entry.end < position or entry.start < entry.end == position
