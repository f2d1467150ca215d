"""The transition table, cell by cell, on real sessions brought into each phase."""

from collections.abc import Callable

import pytest

from steno.streaming import protocol as wire
from steno.streaming.config import SessionOptions
from steno.streaming.phases import REFUSALS, TRANSITIONS, Event, Phase
from steno.streaming.protocol import CLOSE_CODES, ErrorCode, ProtocolError
from steno.streaming.session import Session
from tests.scripted import LevelVad

LOUD = b"\x00\x40" * 1600

EVENTS: dict[Event, Callable[[Session], None]] = {
    Event.START: lambda session: session.receive_control(wire.Start()),
    Event.AUDIO: lambda session: session.receive_audio(LOUD),
    Event.COMMIT: lambda session: session.receive_control(wire.Commit()),
    Event.CLEAR: lambda session: session.receive_control(wire.Clear()),
    Event.GAP: lambda session: session.receive_control(wire.Gap(samples=160)),
    Event.STOP: lambda session: session.receive_control(wire.Stop()),
    Event.DRAIN: lambda session: session.drain(),
    Event.FAULT: lambda session: session.receive_fault(ProtocolError(ErrorCode.TOO_FAST, "too fast")),
    Event.EOF: lambda session: session.receive_eof(),
}

ROUTES: dict[Phase, tuple[Event, ...]] = {
    Phase.OPENING: (),
    Phase.LISTENING: (Event.START, Event.AUDIO),
    Phase.STOPPING: (Event.START, Event.AUDIO, Event.STOP),
    Phase.DRAINING: (Event.START, Event.AUDIO, Event.DRAIN),
    Phase.CLOSED: (Event.START, Event.AUDIO, Event.EOF),
}


def in_phase(phase: Phase) -> Session:
    session = Session(SessionOptions(), session_id="s", model="m", new_vad=lambda _: LevelVad())
    for event in ROUTES[phase]:
        EVENTS[event](session)
    assert session.phase is phase
    session.messages_to_send()
    return session


def test_the_table_is_complete() -> None:
    assert set(TRANSITIONS) == {(phase, event) for phase in Phase for event in Event}
    assert set(REFUSALS) == {outcome for outcome in TRANSITIONS.values() if isinstance(outcome, ErrorCode)}


@pytest.mark.parametrize(("phase", "event"), TRANSITIONS, ids=lambda each: str(each.name))
def test_each_cell(phase: Phase, event: Event) -> None:
    session = in_phase(phase)
    close_code = session.close_code
    EVENTS[event](session)
    outcome = TRANSITIONS[phase, event]
    messages = session.messages_to_send()
    if outcome is None:
        assert (session.phase, session.close_code, messages) == (phase, close_code, [])
    elif isinstance(outcome, ErrorCode):
        assert session.phase is Phase.CLOSED
        assert session.close_code == CLOSE_CODES[outcome]
        last = messages[-1]
        assert isinstance(last, wire.Error)
        assert last.code == outcome
    elif (phase, event) == (Phase.OPENING, Event.DRAIN):
        assert session.phase is Phase.CLOSED  # nothing to wait for
    else:
        assert session.phase is outcome
