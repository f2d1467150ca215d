"""Errors as OpenAI's clients know them: type, code, parameter, message; as HTTP body and as Realtime event.

Knows the table from our own error codes to theirs. Refuses to know endpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.responses import JSONResponse

from .protocol import ErrorCode, ProtocolError

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


@dataclass(slots=True)
class OpenAIError(Exception):
    """A refusal. `status` is that of HTTP; `param` names the field that is at fault, as the client wrote it."""

    message: str
    code: str | None = None
    param: str | None = None
    type: str = INVALID_REQUEST
    status: int = 400

    def detail(self) -> dict[str, str | None]:
        """The `error` object."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}

    def response(self) -> JSONResponse:
        """The HTTP answer; clients that may try again are told when."""
        headers = {"Retry-After": "1"} if self.status in (429, 503) else None
        return JSONResponse({"error": self.detail()}, self.status, headers)


@dataclass(frozen=True, slots=True)
class _Kind:
    code: str
    type: str = INVALID_REQUEST
    status: int = 400
    param: str | None = None


_KINDS: Mapping[ErrorCode, _Kind] = MappingProxyType(
    {
        ErrorCode.BAD_JSON: _Kind("invalid_json"),
        ErrorCode.UNKNOWN_LANGUAGE: _Kind("invalid_language_format", param="language"),
        ErrorCode.BAD_AUDIO: _Kind("invalid_audio", param="audio"),
        ErrorCode.UNSUPPORTED_SAMPLE_RATE: _Kind("invalid_value", param="format.rate"),
        ErrorCode.UNAUTHORIZED: _Kind("invalid_api_key", status=401),
        ErrorCode.TOO_FAST: _Kind("rate_limit_exceeded", "rate_limit_error", 429),
        ErrorCode.IDLE: _Kind("session_idle"),
        ErrorCode.SESSION_TOO_LONG: _Kind("session_expired"),
        ErrorCode.MESSAGE_TOO_BIG: _Kind("message_too_big", status=413),
        ErrorCode.SLOW_READER: _Kind("slow_reader"),
        ErrorCode.INTERNAL: _Kind("internal_error", SERVER_ERROR, 500),
        ErrorCode.RESTARTING: _Kind("server_restarting", SERVER_ERROR, 503),
        ErrorCode.FULL: _Kind("server_overloaded", SERVER_ERROR, 503),
        ErrorCode.BACKLOG_FULL: _Kind("server_overloaded", SERVER_ERROR, 503),
    }
)
_OTHERWISE = _Kind("invalid_value")


def translated(error: ProtocolError) -> OpenAIError:
    """Our own error in their words."""
    return in_their_words(error.code, error.message)


def in_their_words(code: ErrorCode, message: str) -> OpenAIError:
    """As `translated`, for an error that came as a message."""
    kind = _KINDS.get(code, _OTHERWISE)
    return OpenAIError(message, kind.code, kind.param, kind.type, kind.status)


def unauthorized(presented: bool) -> OpenAIError:
    """The key is missing, or it was `presented` and is not known."""
    if presented:
        return OpenAIError("Incorrect API key provided.", "invalid_api_key", status=401)
    message = "You didn't provide an API key. You need to provide it in an Authorization header using Bearer auth."
    return OpenAIError(message, None, status=401)


def unsupported_value(param: str, value: object, supported: tuple[str, ...]) -> OpenAIError:
    """`value` is none of those supported."""
    listed = ", ".join(f"'{each}'" for each in supported)
    return OpenAIError(f"Invalid value: '{value}'. Supported values are: {listed}.", "invalid_value", param)
