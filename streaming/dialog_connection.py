"""One WebSocket that speaks a foreign protocol: frames go to a dialog, the dialog's frames go out.

Knows sockets and patience. Refuses to know what the frames say: that is the dialog's, one pure class per protocol,
which drives the session.
"""

import asyncio
import logging
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from .foreign_connection import ForeignConnection, ForeignDialog
from .protocol import CLOSE_CODES, ErrorCode, ProtocolError
from .service import Service
from .transport import socket_of

logger = logging.getLogger(__name__)


class Dialog(ForeignDialog, Protocol):
    """A protocol's pure half, in frames of a WebSocket."""

    def receive_text(self, frame: str) -> None: ...
    def receive_bytes(self, data: bytes) -> None: ...
    def advance(self) -> None:
        """To be called after the session got results."""

    def frames_to_send(self) -> list[str]:
        """Everything to be sent now."""


class DialogConnection(ForeignConnection[Dialog]):
    """Serves `dialog` on an accepted `websocket` until one of the two ends."""

    def __init__(self, websocket: WebSocket, dialog: Dialog, service: Service) -> None:
        super().__init__(dialog, service)
        self._websocket = websocket

    async def _receive(self) -> None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            self._left = True
        elif message.get("text") is not None:
            self._dialog.receive_text(message["text"])
        else:
            self._dialog.receive_bytes(message["bytes"])

    async def _write(self) -> None:
        session, news = self._session, self._live.news
        while True:
            await news.wait()
            news.clear()
            if self._left:
                return
            self._feed()
            try:
                while frames := self._dialog.frames_to_send():
                    for frame in frames:
                        await self._send(frame)
            except WebSocketDisconnect:
                return
            except TimeoutError:
                self._close_past_the_buffer()
                return
            self._fed.set()
            if session.close_code is not None:
                await self._close(session.close_code)
                return

    def _feed(self) -> None:
        """Results may have made room for what waits in the dialog."""
        if not self._dialog.hungry:
            self._dialog.advance()
            self._live.advance()
            # What was just given over may have been all: look again only when the engine says something.
            self._live.news.clear()

    async def _send(self, frame: str) -> None:
        async with asyncio.timeout(self._service.server_options.send_timeout_s):
            await self._websocket.send_text(frame)

    async def _close(self, code: int) -> None:
        try:
            async with asyncio.timeout(self._service.server_options.send_timeout_s):
                await self._websocket.close(code)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            logger.debug("session %s: the close frame could not be sent", self._session.session_id)

    def _close_past_the_buffer(self) -> None:
        """The client does not read: leave it the reason behind what it has not read yet."""
        patience_s = self._service.server_options.send_timeout_s
        error = ProtocolError(ErrorCode.SLOW_READER, f"the client read nothing for {patience_s:g} s")
        self._session.receive_fault(error)
        socket = socket_of(self._websocket.scope["extensions"])
        if socket is not None:
            socket.close_now(CLOSE_CODES[error.code], error.code.value, "".join(self._dialog.frames_to_send()[-1:]))
