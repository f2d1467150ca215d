"""Protocol version 1: every message of `/v1/stream`, its codec, and the table of error codes.

Shared with the client, so this file knows only the wire: names, types, JSON. It refuses to know
sessions, sockets, audio and models. Text frames are JSON objects with `type`; binary frames are
audio in the encoding that `start` named. Times are integer milliseconds of stream audio, counted
from the first sample sent.

Order that the server keeps, for every segment n (numbered from 0): `speech_start` n, any number of
`partial` n with rising `revision`, `speech_end` n, exactly one `final` n. `speech_start`s come in
order of n and so do `final`s; `partial`s and `speech_start` of n+1 may come before `final` n. A
`partial` n may still come between `speech_end` n and `final` n, never after the `final`. `start_ms`
of a `final` equals `at_ms` of its `speech_start`, `end_ms` that of its `speech_end`.

Resume: every server message but `ready` and `partial` carries `seq`, rising by one from 1. A client
whose connection broke sends `start` again on a new one, with `resume` (the token of `ready`) and
`received` (the last `seq` that it saw). The `ready` that answers says in `audio_samples` how many
samples (per channel, at the client's own rate) the server already has: the client goes on sending
from there, and the server sends again all that came after `received`.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import msgspec

PROTOCOL_VERSION = 1


class ErrorCode(StrEnum):
    """Why a session ends early. The value is `error.code` on the wire; `CLOSE_CODES` has the close
    code.
    """

    BAD_JSON = "bad_json"
    UNKNOWN_TYPE = "unknown_type"
    BAD_FIELD = "bad_field"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNSUPPORTED_SAMPLE_RATE = "unsupported_sample_rate"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    UNSUPPORTED_CHANNELS = "unsupported_channels"
    UNKNOWN_LANGUAGE = "unknown_language"
    BAD_AUDIO = "bad_audio"
    START_EXPECTED = "start_expected"
    ALREADY_STARTED = "already_started"
    AFTER_STOP = "after_stop"
    UNKNOWN_RESUME = "unknown_resume"
    RESUME_LOST = "resume_lost"
    UNAUTHORIZED = "unauthorized"
    TOO_FAST = "too_fast"
    IDLE = "idle"
    SESSION_TOO_LONG = "session_too_long"
    MESSAGE_TOO_BIG = "message_too_big"
    INTERNAL = "internal"
    RESTARTING = "restarting"
    FULL = "full"
    BACKLOG_FULL = "backlog_full"
    SLOW_READER = "slow_reader"


CLOSE_NORMAL = 1000

CLOSE_CODES: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.BAD_AUDIO: 1003,
        ErrorCode.BAD_JSON: 1007,
        ErrorCode.UNKNOWN_TYPE: 1007,
        ErrorCode.BAD_FIELD: 1007,
        ErrorCode.UNSUPPORTED_VERSION: 1007,
        ErrorCode.UNSUPPORTED_SAMPLE_RATE: 1007,
        ErrorCode.UNSUPPORTED_ENCODING: 1007,
        ErrorCode.UNSUPPORTED_CHANNELS: 1007,
        ErrorCode.UNKNOWN_LANGUAGE: 1007,
        ErrorCode.START_EXPECTED: 1008,
        ErrorCode.ALREADY_STARTED: 1008,
        ErrorCode.AFTER_STOP: 1008,
        ErrorCode.UNKNOWN_RESUME: 1008,
        ErrorCode.RESUME_LOST: 1008,
        ErrorCode.UNAUTHORIZED: 1008,
        ErrorCode.TOO_FAST: 1008,
        ErrorCode.IDLE: 1008,
        ErrorCode.SESSION_TOO_LONG: 1008,
        ErrorCode.MESSAGE_TOO_BIG: 1009,
        ErrorCode.INTERNAL: 1011,
        ErrorCode.RESTARTING: 1012,
        ErrorCode.FULL: 1013,
        ErrorCode.BACKLOG_FULL: 1013,
        ErrorCode.SLOW_READER: 1013,
    }
)


class NoticeCode(StrEnum):
    """What a `notice` tells; the session goes on."""

    LAGGING = "lagging"
    """The server widened (or narrowed again) the time between partials; `interval_ms` has the new
    one.
    """
    PARTIALS_DROPPED = "partials_dropped"
    """The client reads slowly: partials were replaced by newer ones before they could be sent."""
    UNTRANSCRIBED = "untranscribed"
    """The audio from `start_ms` to `end_ms` was not transcribed (failure, early end)."""
    TRUNCATED = "truncated"
    """The text of the segment reached the model's limit and was cut."""
    WORDS_UNAVAILABLE = "words_unavailable"
    """Word times were asked for, and this server has no aligner."""


SpeechEndReason = Literal["endpoint", "limit", "commit", "clear", "gap", "stop", "failure"]
"""endpoint: silence · limit: segment limit · commit, clear: the client's message · gap: a gap in the audio · stop: any
end of the session · failure: the engine gave the segment up."""


class ProtocolError(Exception):
    """A fault of the peer (or a refusal of ours) that ends the session with a close code."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def close_code(self) -> int:
        """The WebSocket close code that belongs to `code`."""
        return CLOSE_CODES[self.code]


class _FromClient(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """Fields that nobody knows are refused: a mistyped option must not be ignored in silence."""


class Start(_FromClient, frozen=True, kw_only=True, tag="start"):
    """First message. What is None is the server's default; the meaning of values is the session's
    to judge.

    `language` forces one language (English name as in `ready.languages`, or its code), `languages`
    allows a set; `context` is text or hot words for the model. `interval_ms`: time between
    partials; `endpoint_ms`: silence that ends a segment; `vad` false: only `commit` (and the
    segment limit) ends a segment. `logprobs`: finals carry `tokens`. `resume` and `received`: see the top of the file.
    """

    version: int = PROTOCOL_VERSION
    language: str | None = None
    languages: tuple[str, ...] = ()
    context: str = ""
    sample_rate: int = 16000
    encoding: str = "pcm_s16le"
    channels: int = 1
    interval_ms: int | None = None
    endpoint_ms: int | None = None
    vad: bool = True
    words: bool = False
    logprobs: bool = False
    resume: str | None = None
    received: int = 0


class Commit(_FromClient, frozen=True, kw_only=True, tag="commit"):
    """End the open segment now; its `final` follows. Without an open segment nothing happens."""


class Clear(_FromClient, frozen=True, kw_only=True, tag="clear"):
    """Drop the open segment: its `final` comes at once, with empty text."""


class Gap(_FromClient, frozen=True, kw_only=True, tag="gap"):
    """`samples` (per channel, at the client's rate) of stream time have no audio and never will."""

    samples: int


class Stop(_FromClient, frozen=True, kw_only=True, tag="stop"):
    """No more audio: all finals follow, then `done`, then close code 1000."""


ClientMessage = Start | Commit | Clear | Gap | Stop


class _FromServer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """The client ignores fields that it does not know: a newer server may add some."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server allows in this session."""

    max_message_bytes: int
    max_segment_ms: int
    max_session_s: int
    max_backlog_ms: int
    resume_ttl_s: int


class Ready(_FromServer, frozen=True, kw_only=True, tag="ready"):
    """Answer to `start`. `resume` is None where the server cannot resume. `stopped`, after a resume: the server has the
    client's `stop` already, so nothing is to be sent again.
    """

    session: str
    model: str
    version: int = PROTOCOL_VERSION
    languages: tuple[str, ...] = ()
    resume: str | None = None
    audio_samples: int = 0
    stopped: bool = False
    interval_ms: int
    endpoint_ms: int
    limits: Limits


class SpeechStart(_FromServer, frozen=True, kw_only=True, tag="speech_start"):
    """Segment `segment` begins at `at_ms` (pre-roll included, so it may lie before audio already
    heard).
    """

    segment: int
    at_ms: int
    seq: int = 0


class Partial(_FromServer, frozen=True, kw_only=True, tag="partial"):
    """What is recognised so far: shown text = `committed` + `tentative`.

    Within a segment `committed` only ever grows at its end; `tentative` may change freely. The two
    join without a separator. `end_ms` is the end of the audio that the text covers. Not numbered,
    not repeated after a resume: the next one, or the `final`, replaces it.
    """

    segment: int
    revision: int
    committed: str
    tentative: str
    language: str | None = None
    start_ms: int
    end_ms: int


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One aligned word of a final."""

    text: str
    start_ms: int
    end_ms: int


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One token of a final's text and the natural logarithm of its probability.

    `text` is empty for a token that ends inside a character; the token that completes it has it.
    """

    text: str
    logprob: float


class Final(_FromServer, frozen=True, kw_only=True, tag="final"):
    """The segment's text, for good. It replaces all partials, committed text too (which it rarely
    contradicts).

    `language` is None where nothing was said. `confidence` is the geometric mean of the tokens'
    probabilities, None without tokens. `words` is None unless word times were asked for and the
    server has them; `tokens` is None unless `logprobs` was asked for.
    """

    segment: int
    text: str
    language: str | None = None
    start_ms: int
    end_ms: int
    confidence: float | None = None
    words: tuple[Word, ...] | None = None
    tokens: tuple[Token, ...] | None = None
    seq: int = 0


class SpeechEnd(_FromServer, frozen=True, kw_only=True, tag="speech_end"):
    """The segment's audio ends at `at_ms`; its `final` follows."""

    segment: int
    at_ms: int
    reason: SpeechEndReason
    seq: int = 0


class Notice(_FromServer, frozen=True, kw_only=True, tag="notice"):
    """Something the client should know; the session goes on."""

    code: NoticeCode
    message: str
    segment: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    interval_ms: int | None = None
    seq: int = 0


class Error(_FromServer, frozen=True, kw_only=True, tag="error"):
    """The session is over; the socket closes with the code that `CLOSE_CODES` has for `code`.

    `audio_ms`, if the session had begun: audio before it is in the finals (or in a notice), audio after it is not. A
    client that connects anew goes on from there.
    """

    code: ErrorCode
    message: str
    audio_ms: int | None = None
    seq: int = 0


class Done(_FromServer, frozen=True, kw_only=True, tag="done"):
    """All audio is transcribed, `audio_ms` of it in `segments` segments; close code 1000 follows."""

    audio_ms: int
    segments: int
    seq: int = 0


ServerMessage = Ready | SpeechStart | Partial | Final | SpeechEnd | Notice | Error | Done

_client_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_server_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
_encoder = msgspec.json.Encoder()


def encode(message: ClientMessage | ServerMessage) -> str:
    """One text frame. Fields that have their default value are left out."""
    return _encoder.encode(message).decode()


def decode_client(frame: bytes | str) -> ClientMessage:
    """What the server reads from a text frame.

    Raises:
        ProtocolError: BAD_JSON, UNKNOWN_TYPE or BAD_FIELD, naming what was wrong and where.
    """
    try:
        return _client_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise _protocol_error(fault) from fault


def decode_server(frame: bytes | str) -> ServerMessage:
    """What the client reads from a text frame.

    Raises:
        ProtocolError: as `decode_client`.
    """
    try:
        return _server_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise _protocol_error(fault) from fault


def _protocol_error(fault: Exception) -> ProtocolError:
    text = str(fault)
    if not isinstance(fault, msgspec.ValidationError):
        return ProtocolError(ErrorCode.BAD_JSON, f"not a JSON object: {text}")
    if "`$.type`" in text or "field `type`" in text:
        return ProtocolError(ErrorCode.UNKNOWN_TYPE, f"no such message type: {text}")
    return ProtocolError(ErrorCode.BAD_FIELD, text)
