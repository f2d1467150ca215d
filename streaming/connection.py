"""One WebSocket of `/v1/stream`: frames to the session, messages to the client, patience with both.

Knows Starlette's WebSocket, the codec and clocks. Refuses to know audio, segments and the engine's queue: it feeds a
`LiveSession` and sends what that has to say. A reader, a writer and a watch for the server's shutdown run side by side;
the writer decides the end.
"""

import asyncio
import logging
from collections.abc import Sequence
from enum import Enum, auto

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from .live_session import LiveSession
from .phases import Phase
from .protocol import CLOSE_CODES, ErrorCode, ProtocolError, ServerMessage, decode_client, encode
from .protocol import Error as ErrorMessage
from .service import Service
from .transport import socket_of

logger = logging.getLogger(__name__)

_LOST = (1005, 1006, 1011)
"""Close codes of a connection that broke, rather than was closed; uvicorn says 1005 for a socket that is gone."""


class Outcome(Enum):
    """How a connection ended."""

    CLOSED = auto()
    """The session is over and said so."""
    LEFT = auto()
    """The client closed the connection."""
    LOST = auto()
    """The connection broke: the client may come back."""
    TAKEN = auto()
    """Another connection took the session over."""


class Connection:
    """Serves `live` on `websocket` until one of the two ends."""

    def __init__(self, websocket: WebSocket, live: LiveSession, service: Service) -> None:
        self._websocket = websocket
        self._live = live
        self._service = service
        self._peer_code: int | None = None
        self._taken = False
        live.on_takeover = self._let_go

    async def run(self, first: Message | None = None) -> Outcome:
        """Serve to the end. `first`: an ASGI event that was read already."""
        self._live.news.set()
        if first is not None:
            self._receive(first)
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(self._read()), tasks.create_task(self._watch_shutdown())]
            outcome = await self._write()
            for task in others:
                task.cancel()
        if self._live.on_takeover == self._let_go:
            self._live.on_takeover = None
        return outcome

    # Reading

    async def _read(self) -> None:
        patience_s = self._service.server_options.idle_timeout_s
        while self._peer_code is None:
            try:
                async with asyncio.timeout(patience_s) as patience:
                    while self._peer_code is None:
                        self._receive(await self._websocket.receive())
                        await self._live.room.wait()
                        patience.reschedule(asyncio.get_running_loop().time() + patience_s)
            except TimeoutError:
                self._idle(patience_s)

    def _receive(self, message: Message) -> None:
        """One ASGI event."""
        if message["type"] == "websocket.disconnect":
            self._peer_code = message.get("code", 1005)
            self._live.news.set()
        elif message.get("text") is not None:
            self._receive_text(message["text"])
        else:
            self._live.session.receive_audio(message["bytes"])
            self._live.check_pace(self._service.server_options.max_ahead_ms)
            self._live.advance()

    def _receive_text(self, text: str) -> None:
        session = self._live.session
        try:
            session.receive_control(decode_client(text))
        except ProtocolError as error:
            session.receive_fault(error)
        self._live.advance()

    def _idle(self, patience_s: float) -> None:
        """Nothing came for long: a fault, unless the client waits for us, or we did not read."""
        if self._live.room.is_set() and self._live.session.phase in (Phase.OPENING, Phase.LISTENING):
            error = ProtocolError(ErrorCode.IDLE, f"nothing was received for {patience_s:g} s")
            self._live.session.receive_fault(error)
            self._live.advance()

    # Writing

    async def _write(self) -> Outcome:
        session, news = self._live.session, self._live.news
        while True:
            try:
                # What waits in the session is coalesced, so take it only when the socket takes it.
                while not self._taken and (messages := session.messages_to_send()):
                    await self._send_all(messages)
            except WebSocketDisconnect:
                return Outcome.LOST
            except TimeoutError:
                self._close_past_the_buffer()
                return Outcome.CLOSED
            if self._taken:
                await self._close(1000, "the session goes on on another connection")
                return Outcome.TAKEN
            if self._peer_code is not None:
                return Outcome.LOST if self._peer_code in _LOST else Outcome.LEFT
            if session.close_code is not None:
                await self._close(session.close_code, "")
                return Outcome.CLOSED
            await news.wait()
            news.clear()

    async def _send_all(self, messages: Sequence[ServerMessage]) -> None:
        """Send them in order; after a takeover the rest is the other connection's, which repeats it."""
        for message in messages:
            if self._taken:
                return
            async with asyncio.timeout(self._service.server_options.send_timeout_s):
                await self._websocket.send_text(encode(message))
            self._count(message)

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(self._service.server_options.send_timeout_s):
                await self._websocket.close(code, reason)
        except (TimeoutError, WebSocketDisconnect):
            logger.debug("session %s: the close frame could not be sent", self._live.session.session_id)

    def _close_past_the_buffer(self) -> None:
        """The client does not read: leave it the reason behind what it has not read yet."""
        patience_s = self._service.server_options.send_timeout_s
        error = ProtocolError(ErrorCode.SLOW_READER, f"the client read nothing for {patience_s:g} s")
        self._live.session.receive_fault(error)
        self._live.advance()
        self._service.metrics.faults.labels(error.code.value).inc()
        socket = socket_of(self._websocket.scope["extensions"])
        if socket is not None:
            socket.close_now(
                CLOSE_CODES[error.code], error.code.value, encode(ErrorMessage(code=error.code, message=error.message))
            )

    def _count(self, message: object) -> None:
        self._service.metrics.messages_sent.labels(type(message).__name__).inc()
        if isinstance(message, ErrorMessage):
            self._service.metrics.faults.labels(message.code.value).inc()

    # Ends from elsewhere

    async def _watch_shutdown(self) -> None:
        await self._service.admission.draining.wait()
        self._live.session.drain()
        self._live.advance()

    def _let_go(self) -> None:
        self._taken = True
        self._live.news.set()
