"""uvicorn's protocol classes with the holes closed: nothing a peer does, or fails to do, keeps a socket for ever.

* A connection that never sends a request is dropped (uvicorn starts its timer after the first response only).
* A connection that is closing while its peer reads nothing is aborted; `transport.close()` alone waits for the
  buffer to drain, which a peer with a full window can put off without end.
* A WebSocket that does not read can be sent its close frame past the flow control, and one that breaks the rules of
  frames gets to read its close code although it is still sending.

Knows uvicorn's classes and asyncio transports. Refuses to know sessions and messages.
"""

import asyncio
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

REQUEST_TIMEOUT_S = 10.0
"""How long a fresh connection may take to send its request line and headers."""

CLOSE_TIMEOUT_S = 10.0
"""How long a closing connection may take to drain and to answer the close frame."""

WRITE_BUFFER_BYTES = 64 * 1024
"""Bytes buffered in user space for one WebSocket before its sender has to wait."""

EXTENSION = "steno.socket"
"""Key in the ASGI scope's `extensions` under which `{"socket": SocketProtocol}` is found."""


class HttpProtocol(H11Protocol):
    """HTTP/1.1, up to the WebSocket upgrade."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(REQUEST_TIMEOUT_S, self._drop_the_silent)

    def _drop_the_silent(self) -> None:
        if self.scope is None:
            self.transport.abort()


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket."""

    _abort_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # the handshake was good and there is a scope
            self.scope["extensions"][EXTENSION] = {"socket": self}

    def close_now(self, code: int, reason: str, last_text: str) -> None:
        """Queue `last_text` and the close frame behind what is buffered, whether or not the peer reads."""
        try:
            self.conn.send_text(last_text.encode())
            self.conn.send_close(code, reason)
        except InvalidState:
            return  # the peer closed first
        self._end_writing()

    def handle_parser_exception(self) -> None:
        """uvicorn closes the socket at once; a peer that is still sending would get a reset in place of the code."""
        if self.close_sent:
            return  # what comes after the fault is dropped
        frame = self.conn.close_sent
        assert frame is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": frame.code, "reason": frame.reason})
        self._end_writing()

    def _end_writing(self) -> None:
        """Flush, end our side, and read on until the peer ends its own or time is up."""
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            self._abort_timer = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)


def socket_of(extensions: dict[str, Any]) -> SocketProtocol | None:
    """The protocol object behind an ASGI scope; None under another server."""
    socket = extensions.get(EXTENSION, {}).get("socket")
    return socket if isinstance(socket, SocketProtocol) else None
