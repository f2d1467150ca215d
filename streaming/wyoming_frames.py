"""Wyoming's framing: a JSON line, then optional JSON data, then an optional payload. Pure: bytes in, events out.

Knows lengths and their limits. Refuses to know what the events mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

VERSION = "1.7.0"
"""Of the protocol, told with each event: the first with streamed transcripts."""

MAX_LINE_BYTES = 64 << 10
MAX_DATA_BYTES = 256 << 10
MAX_PAYLOAD_BYTES = 4 << 20

Data = Mapping[str, object]


class BadFrame(ValueError):
    """What came is not Wyoming, or too big; nothing after it can be read."""


@dataclass(frozen=True, slots=True)
class WyomingEvent:
    """One event of either side."""

    type: str
    data: Data = field(default_factory=lambda: MappingProxyType({}))
    payload: bytes = b""


class _Header(msgspec.Struct, frozen=True):
    type: str
    data: dict[str, object] | None = None
    data_length: int | None = None
    payload_length: int | None = None


class FrameReader:
    """Cuts a stream of bytes into events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: _Header | None = None

    def feed(self, received: bytes) -> list[WyomingEvent]:
        """The events that are complete now. Raises BadFrame."""
        self._buffer += received
        events = []
        while (event := self._next()) is not None:
            events.append(event)
        return events

    def _next(self) -> WyomingEvent | None:
        if self._header is None:
            end = self._buffer.find(b"\n", 0, MAX_LINE_BYTES)
            if end < 0:
                if len(self._buffer) >= MAX_LINE_BYTES:
                    raise BadFrame(f"a header is longer than {MAX_LINE_BYTES} bytes")
                return None
            self._header = _read_header(bytes(self._buffer[:end]))
            del self._buffer[: end + 1]
        header = self._header
        data_bytes, payload_bytes = header.data_length or 0, header.payload_length or 0
        if len(self._buffer) < data_bytes + payload_bytes:
            return None
        data = dict(header.data or {})
        if data_bytes:
            data.update(_read_data(bytes(self._buffer[:data_bytes])))
        payload = bytes(self._buffer[data_bytes : data_bytes + payload_bytes])
        del self._buffer[: data_bytes + payload_bytes]
        self._header = None
        return WyomingEvent(header.type, data, payload)


def encode(event: WyomingEvent) -> bytes:
    """The event as bytes."""
    data = msgspec.json.encode(dict(event.data)) if event.data else b""
    header: dict[str, object] = {"type": event.type, "version": VERSION}
    if data:
        header["data_length"] = len(data)
    if event.payload:
        header["payload_length"] = len(event.payload)
    return msgspec.json.encode(header) + b"\n" + data + event.payload


def _read_header(line: bytes) -> _Header:
    try:
        header = msgspec.json.decode(line, type=_Header)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadFrame(f"a header cannot be read: {fault}") from fault
    for name, length, limit in (
        ("data_length", header.data_length or 0, MAX_DATA_BYTES),
        ("payload_length", header.payload_length or 0, MAX_PAYLOAD_BYTES),
    ):
        if not 0 <= length <= limit:
            raise BadFrame(f"{name} is {length}, expected 0 to {limit}")
    return header


def _read_data(encoded: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(encoded, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadFrame(f"the data of an event cannot be read: {fault}") from fault
