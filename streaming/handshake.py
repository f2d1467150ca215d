"""What a `start` asks for against what the server offers. Pure; knows options and names, no audio and no phases."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .config import SessionOptions
from .protocol import PROTOCOL_VERSION, ErrorCode, Limits, ProtocolError, Start


@dataclass(frozen=True, slots=True)
class Languages:
    """The languages of a model: English names, and other names for them (ISO codes, lower case)."""

    names: tuple[str, ...] = ()
    codes: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> str:
        """The English name for a name or code in any case, a region (`en-US`) or not. Without `names` every name is
        taken as it is.

        Raises:
            ProtocolError: UNKNOWN_LANGUAGE.
        """
        code = name.strip().lower().replace("_", "-")
        wanted = self.codes.get(code) or self.codes.get(code.partition("-")[0]) or name.strip()
        if not self.names:
            return wanted
        for known in self.names:
            if known.lower() == wanted.lower():
                return known
        raise ProtocolError(
            ErrorCode.UNKNOWN_LANGUAGE, f"language is {name!r}, expected one of {', '.join(self.names)}"
        )


def negotiate(start: Start, offered: SessionOptions, languages: Languages) -> SessionOptions:
    """The options of a session: those offered, with what the client chose.

    Raises:
        ProtocolError: UNSUPPORTED_VERSION, UNKNOWN_RESUME, UNKNOWN_LANGUAGE or BAD_FIELD.
    """
    if start.version != PROTOCOL_VERSION:
        raise ProtocolError(ErrorCode.UNSUPPORTED_VERSION, f"version is {start.version}, expected {PROTOCOL_VERSION}")
    if start.resume is not None:
        raise ProtocolError(ErrorCode.UNKNOWN_RESUME, "no such session waits to be resumed; start a new one")
    if len(start.context) > offered.max_context_chars:
        raise ProtocolError(
            ErrorCode.BAD_FIELD,
            f"context has {len(start.context)} characters, expected at most {offered.max_context_chars}",
        )
    language = start.language or offered.language
    try:
        return replace(
            offered,
            language=None if language is None else languages.find(language),
            languages=tuple(languages.find(each) for each in start.languages or offered.languages),
            context=start.context or offered.context,
            interval_ms=offered.interval_ms if start.interval_ms is None else start.interval_ms,
            endpoint_ms=offered.endpoint_ms if start.endpoint_ms is None else start.endpoint_ms,
        )
    except ValueError as fault:
        raise ProtocolError(ErrorCode.BAD_FIELD, str(fault)) from fault


def limits(options: SessionOptions, resume_ttl_s: int) -> Limits:
    """What `ready` tells of the server's limits."""
    return Limits(
        max_message_bytes=options.max_message_bytes,
        max_segment_ms=options.max_segment_ms,
        max_session_s=options.max_session_s,
        max_backlog_ms=options.max_backlog_ms,
        resume_ttl_s=resume_ttl_s,
    )
