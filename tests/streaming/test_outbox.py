"""Order, numbers, coalescing, and what is sent again."""

import pytest

from steno.streaming.outbox import Outbox
from steno.streaming.protocol import (
    ErrorCode,
    Final,
    Limits,
    Partial,
    ProtocolError,
    Ready,
    ServerMessage,
    SpeechEnd,
    SpeechStart,
)

LIMITS = Limits(max_message_bytes=1, max_segment_ms=1, max_session_s=1, max_backlog_ms=1, resume_ttl_s=1)
READY = Ready(session="s", model="m", interval_ms=1, endpoint_ms=1, limits=LIMITS)


def start(segment: int) -> SpeechStart:
    return SpeechStart(segment=segment, at_ms=0)


def end(segment: int) -> SpeechEnd:
    return SpeechEnd(segment=segment, at_ms=0, reason="endpoint")


def partial(segment: int, revision: int) -> Partial:
    return Partial(segment=segment, revision=revision, committed="", tentative="", start_ms=0, end_ms=0)


def final(segment: int) -> Final:
    return Final(segment=segment, text="", start_ms=0, end_ms=0)


def filled(*messages: ServerMessage, retained: int = 100) -> Outbox:
    outbox = Outbox(retained=retained)
    for each in messages:
        outbox.put(each)
    return outbox


def outline(messages: list[ServerMessage]) -> list[str]:
    return [f"{type(each).__name__} {getattr(each, 'seq', '-')}" for each in messages]


def test_numbers_rise_by_one_and_partials_have_none() -> None:
    assert outline(filled(READY, start(0), partial(0, 1), end(0), final(0)).drain()) == [
        "Ready -", "SpeechStart 1", "SpeechEnd 2", "Final 3",
    ]  # fmt: skip


def test_a_newer_partial_replaces_an_unsent_one_of_its_segment_only() -> None:
    outbox = filled(partial(0, 1), partial(1, 1), partial(0, 2))
    assert outbox.drain() == [partial(1, 1), partial(0, 2)]
    assert outbox.partials_replaced == 1
    outbox.put(partial(0, 3))
    assert outbox.drain() == [partial(0, 3)]


def test_resend_begins_after_what_was_received() -> None:
    outbox = filled(start(0), end(0))
    outbox.drain()
    outbox.put(final(0))
    outbox.resend_after(1, READY)
    assert outline(outbox.drain()) == ["Ready -", "SpeechEnd 2", "Final 3"]
    outbox.resend_after(3, READY)
    assert outline(outbox.drain()) == ["Ready -"]


def test_numbers_go_on_after_a_resend() -> None:
    outbox = filled(start(0))
    outbox.drain()
    outbox.resend_after(0, READY)
    outbox.put(end(0))
    assert outline(outbox.drain()) == ["Ready -", "SpeechStart 1", "SpeechEnd 2"]
    outbox.resend_after(0, READY)
    assert outline(outbox.drain()) == ["Ready -", "SpeechStart 1", "SpeechEnd 2"]


@pytest.mark.parametrize(("received", "code"), [(-1, ErrorCode.BAD_FIELD), (21, ErrorCode.BAD_FIELD)])
def test_numbers_that_were_never_given(received: int, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as fault:
        filled(*[start(0)] * 20).resend_after(received, READY)
    assert fault.value.code == code


def test_only_the_newest_sent_messages_are_kept() -> None:
    outbox = filled(*[start(0)] * 20, retained=16)
    outbox.drain()
    with pytest.raises(ProtocolError) as fault:
        outbox.resend_after(3, READY)
    assert fault.value.code == ErrorCode.RESUME_LOST
    outbox.resend_after(4, READY)
    assert len(outbox) == 17


def test_unsent_messages_are_kept_however_many() -> None:
    outbox = filled(*[start(0)] * 40, retained=16)
    outbox.resend_after(0, READY)
    assert len(outbox) == 41


def test_coming_back_again_before_anything_was_sent() -> None:
    outbox = filled(start(0), end(0), partial(1, 1))
    outbox.drain()
    outbox.resend_after(0, READY)
    outbox.resend_after(1, READY)
    assert outline(outbox.drain()) == ["Ready -", "SpeechEnd 2"]
    outbox.resend_after(0, READY)
    assert outline(outbox.drain()) == ["Ready -", "SpeechStart 1", "SpeechEnd 2"]
