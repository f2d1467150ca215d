"""What a session has to tell its client: order, numbers, coalescing, and memory for a client that comes back.

Numbered messages are never dropped here. An unsent partial is replaced by a newer one of its segment, and dropped once
the segment's final is there. Sent messages are kept, as many as `retained`, until the session ends: a client that
lost its connection says the last number that it saw.
"""

from collections import deque

import msgspec

from .protocol import ErrorCode, Final, Partial, ProtocolError, Ready, ServerMessage


class Outbox:
    """Messages not sent yet, and the last numbered ones that were.

    Args:
        retained: how many sent messages to keep.
    """

    def __init__(self, *, retained: int) -> None:
        self._unsent: list[ServerMessage] = []
        self._sent: deque[ServerMessage] = deque(maxlen=retained)
        self._seq = 0
        self.partials_replaced = 0
        """Partials that were never sent, because something newer of their segment came first."""

    def __len__(self) -> int:
        return len(self._unsent)

    def put(self, message: ServerMessage) -> None:
        """Append a message; all but Ready and Partial get the next `seq`."""
        if isinstance(message, Partial | Final):
            self._drop_partials(message.segment)
        if not isinstance(message, Ready | Partial):
            self._seq += 1
            message = msgspec.structs.replace(message, seq=self._seq)
        self._unsent.append(message)

    def drain(self) -> list[ServerMessage]:
        """Hand out everything unsent, in order; the caller sends it."""
        unsent, self._unsent = self._unsent, []
        self._sent.extend(each for each in unsent if not isinstance(each, Ready | Partial))
        return unsent

    def resend_after(self, received: int, first: Ready) -> None:
        """A client is back that saw everything up to number `received`: begin with `first`, then all that came after.

        Unsent partials are dropped; the caller puts those that still matter.

        Raises:
            ProtocolError: BAD_FIELD for a number that was never given, RESUME_LOST for messages no longer kept.
        """
        if not 0 <= received <= self._seq:
            raise ProtocolError(ErrorCode.BAD_FIELD, f"received is {received}, expected 0 to {self._seq}")
        numbered = [*self._sent, *(each for each in self._unsent if not isinstance(each, Ready | Partial))]
        missed = [each for each in numbered if _seq_of(each) > received]
        if len(missed) < self._seq - received:
            raise ProtocolError(
                ErrorCode.RESUME_LOST, f"messages after {received} are not kept any more; the last is {self._seq}"
            )
        self._unsent = [first, *missed]
        self._sent = deque(numbered[: len(numbered) - len(missed)], maxlen=self._sent.maxlen)

    def _drop_partials(self, segment: int) -> None:
        kept = [each for each in self._unsent if not (isinstance(each, Partial) and each.segment == segment)]
        self.partials_replaced += len(self._unsent) - len(kept)
        self._unsent = kept


def _seq_of(message: ServerMessage) -> int:
    return 0 if isinstance(message, Ready | Partial) else message.seq
