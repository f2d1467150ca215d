"""What each event does in each phase of a session, as a table. No behaviour.

`session` acts on the table and on nothing else to decide whether an event is allowed.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from .protocol import ErrorCode


class Phase(Enum):
    """Where a session stands."""

    OPENING = auto()
    """Nothing but `start` is expected."""
    LISTENING = auto()
    """Audio comes in."""
    STOPPING = auto()
    """The client said `stop`; finals are on their way."""
    DRAINING = auto()
    """The server ends the session; finals are on their way, and what the client still sends is ignored."""
    CLOSED = auto()
    """Everything is said."""


class Event(Enum):
    """What can happen to a session: the client's messages, and what the server finds or decides."""

    START = auto()
    AUDIO = auto()
    COMMIT = auto()
    CLEAR = auto()
    GAP = auto()
    STOP = auto()
    DRAIN = auto()
    FAULT = auto()
    EOF = auto()


Outcome = Phase | ErrorCode | None
"""The phase that an event leads to, or the error that it is, or None where it is ignored."""

_OPENING, _LISTENING, _STOPPING, _DRAINING, _CLOSED = Phase
_EARLY, _TWICE, _LATE = ErrorCode.START_EXPECTED, ErrorCode.ALREADY_STARTED, ErrorCode.AFTER_STOP

_ROWS: Mapping[Event, tuple[Outcome, ...]] = {
    #             OPENING     LISTENING   STOPPING DRAINING CLOSED
    Event.START: (_LISTENING, _TWICE, _TWICE, None, None),
    Event.AUDIO: (_EARLY, _LISTENING, _LATE, None, None),
    Event.COMMIT: (_EARLY, _LISTENING, _LATE, None, None),
    Event.CLEAR: (_EARLY, _LISTENING, _LATE, None, None),
    Event.GAP: (_EARLY, _LISTENING, _LATE, None, None),
    Event.STOP: (_EARLY, _STOPPING, _LATE, None, None),
    Event.DRAIN: (_DRAINING, _DRAINING, None, None, None),
    Event.FAULT: (_CLOSED, _CLOSED, _CLOSED, _CLOSED, None),
    Event.EOF: (_CLOSED, _CLOSED, _CLOSED, _CLOSED, None),
}

TRANSITIONS: Mapping[tuple[Phase, Event], Outcome] = MappingProxyType(
    {(phase, event): outcome for event, row in _ROWS.items() for phase, outcome in zip(Phase, row, strict=True)}
)
"""Complete: every event in every phase."""

REFUSALS: Mapping[ErrorCode, str] = MappingProxyType(
    {
        ErrorCode.START_EXPECTED: "the first message must be start",
        ErrorCode.ALREADY_STARTED: "start came twice",
        ErrorCode.AFTER_STOP: "nothing may follow stop",
    }
)
"""The message of each error in the table."""
