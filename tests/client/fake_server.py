"""A server on a real socket that plays one script for each connection."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve

from steno.streaming.protocol import (
    ClientMessage,
    Limits,
    Ready,
    ServerMessage,
    Start,
    decode_client,
    encode,
)


def ready(*, resume: str | None = "token", audio_samples: int = 0, stopped: bool = False) -> Ready:
    limits = Limits(
        max_message_bytes=1 << 20, max_segment_ms=30_000, max_session_s=3600, max_backlog_ms=60_000, resume_ttl_s=30
    )
    return Ready(
        session="s",
        model="fake",
        languages=("English",),
        resume=resume,
        audio_samples=audio_samples,
        stopped=stopped,
        interval_ms=500,
        endpoint_ms=600,
        limits=limits,
    )


class Peer:
    """The server's end of one connection, as a script sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self.headers = dict(socket.request.headers.raw_items()) if socket.request else {}

    async def say(self, *messages: ServerMessage) -> None:
        for message in messages:
            await self._socket.send(encode(message))

    async def say_raw(self, frame: str) -> None:
        await self._socket.send(frame)

    async def hear(self) -> ClientMessage | bytes:
        frame = await self._socket.recv()
        return frame if isinstance(frame, bytes) else decode_client(frame)

    async def hear_start(self) -> Start:
        message = await self.hear()
        assert isinstance(message, Start)
        return message

    async def hear_samples(self, count: int) -> bytes:
        """At least so many 16-bit samples."""
        heard = b""
        while len(heard) < 2 * count:
            frame = await self.hear()
            assert isinstance(frame, bytes)
            heard += frame
        return heard

    async def hear_until(self, kind: type[ClientMessage]) -> list[ClientMessage | bytes]:
        heard: list[ClientMessage | bytes] = []
        while not (heard and isinstance(heard[-1], kind)):
            heard.append(await self.hear())
        return heard

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._socket.close(code, reason)

    def vanish(self) -> None:
        """As when a cable is pulled and the connection reset: no close frame."""
        self._socket.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class FakeServer(AbstractAsyncContextManager["FakeServer"]):
    """`async with FakeServer(script, ...) as server`: the n-th connection gets the n-th script, further ones none.

    What a script raises is raised on leaving, so that an assertion in it fails the test.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts: Sequence[Script] = scripts
        self._faults: list[BaseException] = []
        self._server: Server | None = None
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await serve(self._play, "127.0.0.1", 0, close_timeout=1)
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v1/stream"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if self._faults and error is None:
            raise self._faults[0]

    async def _play(self, socket: ServerConnection) -> None:
        number, self.connections = self.connections, self.connections + 1
        if number >= len(self._scripts):
            await socket.close(1011, "no script for this connection")
            return
        try:
            await asyncio.wait_for(self._scripts[number](Peer(socket)), 20)
        except AssertionError as fault:
            self._faults.append(fault)
            raise
