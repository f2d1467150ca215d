"""One WebSocket that speaks a foreign protocol: frames go to a dialog, the dialog's frames go out.

Knows sockets, patience, admission and the end of the server. Refuses to know what the frames say: that is the dialog's,
one pure class per protocol, which drives the session.
"""

import asyncio
import logging
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from .live_session import LiveSession
from .protocol import CLOSE_CODES, ErrorCode, ProtocolError
from .service import Service
from .session import Session
from .transport import socket_of

logger = logging.getLogger(__name__)

SILENT_FOR_S = 900.0
"""Foreign clients keep a socket through pauses and say nothing meanwhile; pings tell whether they are there."""


class Dialog(Protocol):
    """A protocol's pure half."""

    session: Session

    @property
    def hungry(self) -> bool:
        """Whether the next frame may be read."""

    def receive_text(self, frame: str) -> None: ...
    def receive_bytes(self, data: bytes) -> None: ...
    def advance(self) -> None:
        """To be called after the session got results."""

    def frames_to_send(self) -> list[str]:
        """Everything to be sent now."""


class DialogConnection:
    """Serves `dialog` on an accepted `websocket` until one of the two ends."""

    def __init__(self, websocket: WebSocket, dialog: Dialog, service: Service) -> None:
        self._websocket = websocket
        self._dialog = dialog
        self._service = service
        self._live = LiveSession(dialog.session, service.engine, service.metrics)
        self._left = False
        self._fed = asyncio.Event()

    async def run(self) -> None:
        """Serve to the end; frees what the engine holds."""
        try:
            self._live.advance()
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(self._read()), tasks.create_task(self._watch_shutdown())]
                await self._write()
                for task in others:
                    task.cancel()
        finally:
            self._dialog.session.receive_eof()
            self._live.end()
            self._service.metrics.sessions_closed.labels(str(self._dialog.session.close_code)).inc()

    async def _read(self) -> None:
        while not self._left:
            try:
                async with asyncio.timeout(SILENT_FOR_S):
                    await self._receive()
            except TimeoutError:
                message = f"nothing was received for {SILENT_FOR_S:g} s"
                self._dialog.session.receive_fault(ProtocolError(ErrorCode.IDLE, message))
                self._live.advance()
                return
            while not self._dialog.hungry and self._dialog.session.close_code is None:
                self._fed.clear()
                await self._fed.wait()

    async def _receive(self) -> None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            self._left = True
        elif message.get("text") is not None:
            self._dialog.receive_text(message["text"])
        else:
            self._dialog.receive_bytes(message["bytes"])
        self._live.advance()

    async def _write(self) -> None:
        session, news = self._dialog.session, self._live.news
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
            logger.debug("session %s: the close frame could not be sent", self._dialog.session.session_id)

    def _close_past_the_buffer(self) -> None:
        """The client does not read: leave it the reason behind what it has not read yet."""
        patience_s = self._service.server_options.send_timeout_s
        error = ProtocolError(ErrorCode.SLOW_READER, f"the client read nothing for {patience_s:g} s")
        self._dialog.session.receive_fault(error)
        socket = socket_of(self._websocket.scope["extensions"])
        if socket is not None:
            socket.close_now(CLOSE_CODES[error.code], error.code.value, "".join(self._dialog.frames_to_send()[-1:]))

    async def _watch_shutdown(self) -> None:
        await self._service.admission.draining.wait()
        self._dialog.session.drain()
        self._live.advance()
