"""The server: an ASGI app over a `Service`, and uvicorn running it until a signal ends it in good order.

Knows routes, health, uvicorn and signals. Refuses to know what happens on a connection (`stream_endpoint`,
`connection`) and what a model is.

`serve` is the whole life of one process: load, listen, warm up, serve; at SIGTERM or SIGINT admit nobody, let open
utterances get their finals, close with 1012, stop the engine. A second signal cuts that short.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from .config import EngineOptions, ServerOptions, SessionOptions
from .loading import load_engine
from .metrics import Metrics
from .pages import page_routes
from .service import Service, make_service
from .stream_endpoint import stream_endpoint
from .transport import HttpProtocol, SocketProtocol

logger = logging.getLogger(__name__)

LARGEST_FRAME_BYTES = 22 << 20
"""15 MiB of audio in base64, the most that OpenAI's clients may send in one frame. What each endpoint takes is its own
affair; up to this it can say what is wrong.
"""

STALLED_AFTER_S = 60.0
"""A step of the model that runs for longer means that the process is sick."""


def build_app(service: Service, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The ASGI app; `extra_routes` are those of other protocols. The engine is started by the caller."""

    async def stream(websocket: WebSocket) -> None:
        await stream_endpoint(websocket, service)

    async def healthz(request: Request) -> Response:
        busy_s = service.engine.busy_s()
        well = service.engine.alive and busy_s < STALLED_AFTER_S
        return JSONResponse(
            {"status": "ok" if well else "stalled", "step_running_s": round(busy_s, 3)}, 200 if well else 503
        )

    async def readyz(request: Request) -> Response:
        reason = _unready(service)
        return JSONResponse({"status": reason or "ready"}, 503 if reason else 200)

    async def metrics(request: Request) -> Response:
        if not service.admits(request.headers, request.query_params):
            return JSONResponse({"error": "an API key is needed, or the one given is not known"}, 401)
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.waiting.close()

    routes: list[BaseRoute] = [
        WebSocketRoute("/v1/stream", stream),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        *([Route("/metrics", metrics)] if service.server_options.metrics else []),
        *extra_routes,
        *page_routes(),
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(service.server_options.allow_origin),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
    )
    return Starlette(routes=routes, middleware=[cors], lifespan=lifespan)


def _unready(service: Service) -> str | None:
    """Why a load balancer should send sessions elsewhere."""
    if service.admission.draining.is_set():
        return "draining"
    if not service.engine.alive:
        return "engine stopped"
    return None if service.engine.ready else "warming up"


class Server(uvicorn.Server):
    """uvicorn, which drains the service before it closes connections, and leaves signals to us."""

    def __init__(self, app: Starlette, service: Service, on_listening: Callable[[], None] = lambda: None) -> None:
        options = service.server_options
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpProtocol,
                ws=SocketProtocol,
                ws_max_size=max(LARGEST_FRAME_BYTES, 2 * service.session_options.max_message_bytes),
                ws_per_message_deflate=False,  # audio does not shrink, and each context costs memory
                ws_ping_interval=options.ping_interval_s,
                ws_ping_timeout=options.ping_interval_s,
                timeout_graceful_shutdown=5,
                ssl_certfile=options.tls_cert,
                ssl_keyfile=options.tls_key,
                log_config=None,
                access_log=False,
            )
        )
        self._service = service
        self._on_listening = on_listening
        self._hurry = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        drain = asyncio.ensure_future(self._service.admission.drain(self._service.server_options.drain_timeout_s))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait((drain, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not drain.done() or not drain.result():
            logger.warning("%d sessions were cut off at shutdown", self._service.admission.sessions)
        drain.cancel()
        hurry.cancel()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask for the end; unlike uvicorn's own, they are not raised again afterwards."""
        loop = asyncio.get_running_loop()
        ours = (signal.SIGTERM, signal.SIGINT)
        try:
            for number in ours:
                loop.add_signal_handler(number, self.ask_to_end)
        except (ValueError, RuntimeError, NotImplementedError):
            with super().capture_signals():  # not on the main thread, or not on Unix
                yield
            return
        try:
            yield
        finally:
            for number in ours:
                loop.remove_signal_handler(number)

    def ask_to_end(self) -> None:
        """Begin the shutdown; asked again, skip the rest of the drain. On the loop's thread."""
        if self.should_exit:
            self.force_exit = True
            self._hurry.set()
        self.should_exit = True


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; raises OSError when the address cannot be had."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def serve(
    server_options: ServerOptions,
    session_options: SessionOptions,
    engine_options: EngineOptions,
    *,
    on_listening: Callable[[int], None] = lambda port: None,
    extra_routes: Callable[[Service], Sequence[BaseRoute]] = lambda service: (),
    beside: Callable[[Service], AbstractAsyncContextManager[object]] = lambda service: nullcontext(),
) -> int:
    """Load the model and serve until a signal; returns the process's exit status.

    `on_listening` is called with the port once clients may come. `extra_routes` are further endpoints over the same
    service, `beside` further servers that run as long as this one. Raises OSError when the address is taken (before the
    model is loaded), and what `load_engine`, `make_service` and `beside` raise.
    """
    with listening_socket(server_options.host, server_options.port) as sock:
        metrics = Metrics()
        loaded = load_engine(engine_options, metrics)

        async def run() -> None:
            service = make_service(
                loaded.engine,
                metrics,
                model=loaded.model,
                languages=loaded.languages,
                language_codes=loaded.language_codes,
                server_options=server_options,
                session_options=session_options,
                aligner=loaded.aligner,
            )
            port: int = sock.getsockname()[1]
            server = Server(build_app(service, extra_routes(service)), service, lambda: on_listening(port))
            async with beside(service):
                await server.serve([sock])

        loaded.engine.start()
        try:
            if not loaded.engine.wait_ready():
                return 1
            asyncio.run(run())
            return 0
        finally:
            loaded.engine.stop()
