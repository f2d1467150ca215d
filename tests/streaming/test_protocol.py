"""The codec: every message there and back, every kind of bad frame to its code."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno.streaming import protocol as wire
from steno.streaming.protocol import (
    CLOSE_CODES,
    ClientMessage,
    ErrorCode,
    NoticeCode,
    ProtocolError,
    ServerMessage,
    decode_client,
    decode_server,
    encode,
)

FROM_CLIENT: list[ClientMessage] = [
    wire.Start(),
    wire.Start(
        language="de",
        languages=("de", "English"),
        context="steno \u00fc\U0001f399",
        sample_rate=48_000,
        encoding="mulaw",
        channels=2,
        interval_ms=250,
        endpoint_ms=800,
        vad=False,
        words=True,
        logprobs=True,
        resume="token",
        received=17,
    ),
    wire.Commit(),
    wire.Clear(),
    wire.Gap(samples=480),
    wire.Stop(),
]

FROM_SERVER: list[ServerMessage] = [
    wire.Ready(
        session="s",
        model="tiny",
        languages=("English",),
        resume="token",
        audio_samples=5,
        stopped=True,
        interval_ms=500,
        endpoint_ms=600,
        limits=wire.Limits(max_message_bytes=1, max_segment_ms=2, max_session_s=3, max_backlog_ms=4, resume_ttl_s=5),
    ),
    wire.SpeechStart(segment=0, at_ms=120, seq=1),
    wire.Partial(
        segment=0, revision=3, committed="Guten", tentative=" Tag", language="German", start_ms=120, end_ms=900
    ),
    wire.Final(
        segment=0,
        text="Guten Tag.",
        language="German",
        start_ms=120,
        end_ms=1400,
        confidence=0.93,
        words=(wire.Word(text="Guten", start_ms=130, end_ms=500),),
        tokens=(wire.Token(text="Guten", logprob=-0.07),),
        seq=3,
    ),
    wire.SpeechEnd(segment=0, at_ms=1400, reason="endpoint", seq=2),
    wire.Notice(code=NoticeCode.UNTRANSCRIBED, message="m", segment=0, start_ms=1, end_ms=2, interval_ms=3, seq=4),
    wire.Error(code=ErrorCode.FULL, message="m", audio_ms=4, seq=5),
    wire.Done(audio_ms=1400, segments=1, seq=6),
]


@pytest.mark.parametrize("message", FROM_CLIENT, ids=encode)
def test_client_messages_there_and_back(message: ClientMessage) -> None:
    assert decode_client(encode(message)) == message
    assert decode_client(encode(message).encode()) == message


@pytest.mark.parametrize("message", FROM_SERVER, ids=lambda message: str(type(message).__name__))
def test_server_messages_there_and_back(message: ServerMessage) -> None:
    assert decode_server(encode(message)) == message


def test_every_message_and_every_field_is_covered() -> None:
    def changed(messages: list[ClientMessage] | list[ServerMessage]) -> set[tuple[str, str]]:
        return {(type(each).__name__, field) for each in messages for field in json.loads(encode(each))}

    optional = {("Start", "version"), ("Ready", "version")}
    expected = {
        (cls.__name__, field)
        for cls in [*ClientMessage.__args__, *ServerMessage.__args__]
        for field in ["type", *cls.__struct_fields__]
    }
    assert changed(FROM_CLIENT) | changed(FROM_SERVER) | optional == expected


def test_the_names_on_the_wire() -> None:
    tags = [json.loads(encode(each))["type"] for each in [*FROM_CLIENT[1:], *FROM_SERVER]]
    assert tags == [
        "start", "commit", "clear", "gap", "stop",
        "ready", "speech_start", "partial", "final", "speech_end", "notice", "error", "done",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "code", "named"),
    [
        ("", ErrorCode.BAD_JSON, "JSON"),
        ("garbage", ErrorCode.BAD_JSON, "JSON"),
        ('{"type":"stop"', ErrorCode.BAD_JSON, "JSON"),
        ('{"type":"stop"}{"type":"stop"}', ErrorCode.BAD_JSON, "trailing"),
        (b"\xff\x00", ErrorCode.BAD_JSON, "JSON"),
        (b'{"type":"start","context":"\xff"}', ErrorCode.BAD_JSON, "utf-8"),
        ("[" * 100_000, ErrorCode.BAD_FIELD, "object"),
        ('{"x":' + "[" * 100_000, ErrorCode.BAD_JSON, "recursion"),
        ("[]", ErrorCode.BAD_FIELD, "object"),
        ("7", ErrorCode.BAD_FIELD, "object"),
        ("{}", ErrorCode.UNKNOWN_TYPE, "type"),
        ('{"type":"begin"}', ErrorCode.UNKNOWN_TYPE, "begin"),
        ('{"type":3}', ErrorCode.UNKNOWN_TYPE, "type"),
        ('{"type":"ready"}', ErrorCode.UNKNOWN_TYPE, "ready"),
        ('{"type":"gap"}', ErrorCode.BAD_FIELD, "samples"),
        ('{"type":"gap","samples":"4"}', ErrorCode.BAD_FIELD, "samples"),
        ('{"type":"start","samplerate":8000}', ErrorCode.BAD_FIELD, "samplerate"),
        ('{"type":"start","vad":1}', ErrorCode.BAD_FIELD, "vad"),
        ('{"type":"start","languages":"en"}', ErrorCode.BAD_FIELD, "languages"),
        ('{"type":"start","sample_rate":1e999}', ErrorCode.BAD_FIELD, "sample_rate"),
    ],
)
def test_bad_frames(frame: str | bytes, code: ErrorCode, named: str) -> None:
    with pytest.raises(ProtocolError, match=named) as fault:
        decode_client(frame)
    assert fault.value.code == code
    assert fault.value.close_code == 1007


@given(st.binary(max_size=60) | st.text(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "samples", "a"]), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value)))  # fmt: skip
def test_any_frame_decodes_or_is_a_protocol_error(frame: str | bytes) -> None:
    code: ErrorCode | None = None
    try:
        message = decode_client(frame)
    except ProtocolError as fault:
        code = fault.code
    else:
        assert decode_client(encode(message)) == message
    assert code in (None, ErrorCode.BAD_JSON, ErrorCode.UNKNOWN_TYPE, ErrorCode.BAD_FIELD)


def test_the_client_tolerates_fields_that_it_does_not_know() -> None:
    assert decode_server('{"type":"done","audio_ms":1,"segments":0,"cost":3}') == wire.Done(audio_ms=1, segments=0)
    with pytest.raises(ProtocolError):
        decode_server('{"type":"done"}')


def test_every_error_has_a_close_code_of_the_design() -> None:
    assert set(CLOSE_CODES) == set(ErrorCode)
    assert set(CLOSE_CODES.values()) == {1003, 1007, 1008, 1009, 1011, 1012, 1013}


def test_messages_are_frozen() -> None:
    with pytest.raises(AttributeError):
        FROM_SERVER[-1].seq = 3  # type: ignore[misc, union-attr]
    assert msgspec.structs.replace(wire.Done(audio_ms=1, segments=1), seq=9).seq == 9
