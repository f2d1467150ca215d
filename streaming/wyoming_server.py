"""Wyoming on TCP and on a unix socket: connections of `wyoming.WyomingDialog`s.

Knows sockets, patience and admission. Refuses to know events. The protocol has no place for a key: where the server
asks for keys, TCP is served only on an address that was named for it on purpose; a unix socket is guarded by its file's
permissions.
"""

import asyncio
import importlib.metadata
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from .foreign_connection import ForeignConnection
from .protocol import ErrorCode, ProtocolError
from .service import Service, new_session, new_session_id
from .wyoming import WyomingDialog, described
from .wyoming_frames import BadFrame, FrameReader, WyomingEvent, encode

logger = logging.getLogger(__name__)

LABEL = "wyoming"
_READ_BYTES = 1 << 16
_SOCKET_MODE = 0o660


@asynccontextmanager
async def wyoming_servers(service: Service) -> AsyncIterator[list[asyncio.Server]]:
    """Listen where the options say, if they do, while the block runs.

    Raises OSError for an address that cannot be had, ValueError for TCP without keys on a server that asks for them.
    """
    options = service.server_options
    async with AsyncExitStack() as stack:
        listeners = _Listeners(service)
        stack.push_async_callback(listeners.close)
        if options.wyoming_port is not None:
            host = options.wyoming_host or options.host
            if options.wyoming_host is None and not service.keys.open:
                raise ValueError(
                    "Wyoming's clients cannot send the API key that this server asks for: name the address that is "
                    "served without one with wyoming_host, or use wyoming_socket"
                )
            listeners.add(await asyncio.start_server(listeners.serve, host or None, options.wyoming_port))
        if options.wyoming_socket is not None:
            path = Path(options.wyoming_socket)
            listeners.add(await asyncio.start_unix_server(listeners.serve, path))
            stack.callback(path.unlink, missing_ok=True)
            os.chmod(path, _SOCKET_MODE)
        yield listeners.servers


class _Listeners:
    """The listening sockets and the tasks of their connections."""

    def __init__(self, service: Service) -> None:
        self.servers: list[asyncio.Server] = []
        self._service = service
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, server: asyncio.Server) -> None:
        self.servers.append(server)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_serve(reader, writer, self._service))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for server in self.servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service) -> None:
    session_id = new_session_id()
    try:
        with service.admission.session(LABEL):
            await _Connection(reader, writer, service, session_id).run()
    except ProtocolError as refusal:
        error = WyomingEvent("error", {"text": refusal.message, "code": refusal.code.value})
        with suppress(ConnectionError):
            writer.write(encode(error))
    except ConnectionError:
        logger.debug("session %s: the client is gone", session_id)
    except Exception:  # the root of the connection's task
        logger.exception("session %s ended by a fault", session_id)
        service.metrics.internal_errors.inc()
    finally:
        await _closed(writer, service.server_options.send_timeout_s)


async def _closed(writer: asyncio.StreamWriter, patience_s: float) -> None:
    """Close; a client that does not read what is left is cut off."""
    writer.close()
    try:
        async with asyncio.timeout(patience_s):
            await writer.wait_closed()
    except (TimeoutError, ConnectionError):
        writer.transport.abort()


class _Connection(ForeignConnection[WyomingDialog]):
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service, session_id: str
    ) -> None:
        codes = {name: code for code, name in service.language_codes.items()}
        languages = [codes.get(name, name) for name in service.languages]
        info = described(service.model, languages, _version())
        session = new_session(service, session_id)
        super().__init__(WyomingDialog(session, service.session_options, codes, info), service)
        self._frames = FrameReader()
        self._reader = reader
        self._writer = writer

    async def _receive(self) -> None:
        try:
            received = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            received = b""
        self._left = not received
        try:
            for event in self._frames.feed(received):
                self._dialog.receive(event)
        except BadFrame as fault:
            self._session.receive_fault(ProtocolError(ErrorCode.BAD_JSON, str(fault)))

    async def _write(self) -> None:
        session, news = self._session, self._live.news
        while True:
            await news.wait()
            news.clear()
            if self._left:
                return
            while events := self._dialog.events_to_send():
                self._writer.write(b"".join(encode(event) for event in events))
                try:
                    async with asyncio.timeout(self._service.server_options.send_timeout_s):
                        await self._writer.drain()
                except TimeoutError:
                    self._writer.transport.abort()
                    return
            self._live.advance()
            # Work was passed on, nothing else is new: look again only when something comes.
            news.clear()
            self._fed.set()
            if session.close_code is not None:
                return


def _version() -> str:
    try:
        return importlib.metadata.version("steno")
    except importlib.metadata.PackageNotFoundError:
        return "0"
