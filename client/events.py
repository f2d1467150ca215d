"""What a client's user reads: the server's messages, and word of a mended connection; and the queue they wait in.

Refuses to know sockets.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from steno.streaming.protocol import Done, Final, Notice, Partial, SpeechEnd, SpeechStart


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection broke and is whole again.

    `resumed`: the session went on where it was. Otherwise a new one has begun: segments without a final start again
    under their old numbers. `missing_ms` of audio could not be sent again.
    """

    reason: str
    resumed: bool
    missing_ms: int


Event = SpeechStart | Partial | SpeechEnd | Final | Notice | Done | Reconnected


class EventQueue:
    """Events between the socket and whoever iterates. A partial replaces an older one of its segment that still
    waits, so a slow reader costs no memory for them; of finals there is one for each utterance spoken.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(event, Partial) and isinstance(last, Partial) and last.segment == event.segment:
            self._events.pop()
        self._events.append(event)
        self._changed.set()

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    async def take(self) -> Event | None:
        """The next event; None when there is none and never will be."""
        while not self._events:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()
