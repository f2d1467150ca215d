"""A real server on a real socket for tests: the app, uvicorn and the engine's thread around a fake recognizer.

Only the model is fake. Everything runs in the test's own event loop but the engine, which has its thread as in life.
"""

import asyncio
import functools
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions
from steno.streaming.engine import Engine
from steno.streaming.foreign_routes import foreign_routes
from steno.streaming.metrics import Metrics
from steno.streaming.server import Server, build_app, listening_socket
from steno.streaming.service import Service, make_service

from .fakes import FakeAligner, FakeRecognizer, FakeStream

PATIENCE_S = 120.0
"""After this a test is stuck; nothing is ever asserted on how long anything took."""


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run an async test function in a loop of its own."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


@dataclass
class Live:
    """The running server and what is inside."""

    port: int
    service: Service
    engine: Engine[FakeStream]
    recognizer: FakeRecognizer
    server: Server

    def url(self, path: str = "/v1/stream") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def http(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def connect(self, path: str = "/v1/stream", *, uri: str | None = None, **options: Any) -> connect:
        options.setdefault("compression", None)
        return connect(uri or self.url(path), **options)

    def value(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where nothing was counted yet."""
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0

    async def quiet(self) -> None:
        """Wait until no session is open and the engine holds nothing."""
        await until(lambda: self.service.admission.sessions == 0 and not self.recognizer.open_streams)


@asynccontextmanager
async def live_server(
    *,
    before_step: Callable[[Sequence[FakeStream]], None] | None = None,
    server: ServerOptions = ServerOptions(resume_ttl_s=0),  # noqa: B008 - frozen
    session: SessionOptions = SessionOptions(),  # noqa: B008 - frozen
    engine: EngineOptions = EngineOptions(warm_up=False),  # noqa: B008 - frozen
    send_buffer_bytes: int | None = None,
    aligner: FakeAligner | None = None,
    slots: int | None = None,
) -> AsyncIterator[Live]:
    """Serve on a free port until the block ends. `send_buffer_bytes`: the kernel's, of each accepted socket.

    `slots`: of the recognizer.
    """
    recognizer = FakeRecognizer(before_step=before_step, slots=slots)
    metrics = Metrics()
    model = Engine(recognizer, engine, metrics, aligner=aligner)
    service = make_service(
        model,
        metrics,
        model="fake",
        languages=recognizer.languages,
        language_codes={"en": "English", "fr": "French", "de": "German"},
        server_options=server,
        session_options=session,
        aligner=aligner is not None,
    )
    listening = asyncio.Event()
    running = Server(build_app(service, foreign_routes(service)), service, listening.set)
    model.start()
    with listening_socket("127.0.0.1", 0) as sock:
        if send_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        task = asyncio.create_task(running.serve([sock]))
        try:
            await listening.wait()
            yield Live(sock.getsockname()[1], service, model, recognizer, running)
        finally:
            running.ask_to_end()
            running.ask_to_end()
            await task
            await asyncio.to_thread(model.stop)


@dataclass
class Conversation:
    """What came on a connection until it closed."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None
    reason: str = ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.of("final")]

    @property
    def error(self) -> str:
        """The code of the one error message."""
        (message,) = self.of("error")
        code: str = message["code"]
        return code


async def until(condition: Callable[[], bool]) -> None:
    """Poll; for what happens on the engine's thread or inside the server, where there is nothing to await."""
    while not condition():  # noqa: ASYNC110 - the other side is a thread or the server itself: no event to await
        await asyncio.sleep(0.005)


async def say(client: ClientConnection, kind: str, **fields: object) -> None:
    await client.send(json.dumps({"type": kind, **fields}))


async def hear(client: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next message of one of the kinds; any, without kinds."""
    while True:
        message: dict[str, Any] = json.loads(await client.recv())
        if not kinds or message["type"] in kinds:
            return message


async def hear_out(client: ClientConnection) -> Conversation:
    """Everything up to the close."""
    heard = Conversation()
    try:
        while True:
            heard.messages.append(json.loads(await client.recv()))
    except ConnectionClosed:
        heard.code = client.close_code
        heard.reason = client.close_reason or ""
        return heard


def pcm(samples: NDArray[np.float32]) -> bytes:
    """As pcm_s16le."""
    return (samples * 32767).round().astype("<i2").tobytes()
