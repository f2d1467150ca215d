"""The segments of a session whose final was not sent, in order. Knows nothing of what is in their messages."""

from collections.abc import Iterator

from .protocol import ServerMessage
from .segment import Segment
from .transcript import Transcript


class Segments:
    """Numbers segments, finds them, and lets their last messages out in order."""

    def __init__(self) -> None:
        self._waiting: dict[int, Segment] = {}
        self.opened = 0
        """How many there were so far."""

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self, start: int, transcript: Transcript) -> Segment:
        """The next segment, from position `start`."""
        segment = Segment(self.opened, start, transcript)
        self._waiting[segment.number] = segment
        self.opened += 1
        return segment

    @property
    def newest(self) -> Segment:
        """The segment opened last; only while its final was not sent."""
        return self._waiting[self.opened - 1]

    def unsettled(self) -> Iterator[Segment]:
        """Those whose last messages are not known yet, in order. Settling them on the way is fine."""
        for segment in list(self._waiting.values()):
            if not segment.closing:
                yield segment

    def find(self, number: int) -> Segment | None:
        """The segment, None if its last messages are known."""
        segment = self._waiting.get(number)
        return None if segment is None or segment.closing else segment

    @property
    def backlog(self) -> int:
        """Samples given to the engine and not covered by a hypothesis yet."""
        return sum(each.fed - each.heard for each in self._waiting.values())

    def settle(self, segment: Segment, closing: tuple[ServerMessage, ...]) -> list[ServerMessage]:
        """The segment's last messages are known. Returns what may be sent now: no final overtakes an earlier one."""
        segment.closing = closing
        released: list[ServerMessage] = []
        for first in list(self._waiting.values()):
            if not first.closing:
                break
            del self._waiting[first.number]
            released += first.closing
        return released
