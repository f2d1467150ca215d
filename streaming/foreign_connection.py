"""A connection of a foreign protocol: a reader, a writer and a watch for the server's shutdown, side by side.

Knows the session, patience and the end of the server. Refuses to know sockets and frames: those are its heirs', one per
kind of socket. The writer decides the end.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from .live_session import LiveSession
from .protocol import ErrorCode, ProtocolError
from .service import Service
from .session import Session

SILENT_FOR_S = 900.0
"""Foreign clients keep a connection through pauses and say nothing meanwhile."""


class ForeignDialog(Protocol):
    """A protocol's pure half, as far as every connection knows it."""

    session: Session

    @property
    def hungry(self) -> bool:
        """Whether the next frame may be read."""


D = TypeVar("D", bound=ForeignDialog)


class ForeignConnection(ABC, Generic[D]):
    """Serves `dialog` until its session or its client ends."""

    def __init__(self, dialog: D, service: Service) -> None:
        self._dialog = dialog
        self._session = dialog.session
        self._service = service
        self._live = LiveSession(dialog.session, service.engine, service.metrics)
        self._left = False
        """The client is gone: nothing more is to be read or written."""
        self._fed = asyncio.Event()
        """Set by the writer when the session may take more."""

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
            self._session.receive_eof()
            self._live.end()
            self._service.metrics.sessions_closed.labels(str(self._session.close_code)).inc()

    @abstractmethod
    async def _receive(self) -> None:
        """Wait for what comes next and give it to the session; at the client's end set `_left`."""

    @abstractmethod
    async def _write(self) -> None:
        """Send what there is to say until `_left` or the session's end."""

    async def _read(self) -> None:
        while not self._left and self._session.close_code is None:
            try:
                async with asyncio.timeout(SILENT_FOR_S):
                    await self._receive()
            except TimeoutError:
                message = f"nothing was received for {SILENT_FOR_S:g} s"
                self._session.receive_fault(ProtocolError(ErrorCode.IDLE, message))
            self._live.advance()
            while not self._dialog.hungry and self._session.close_code is None:
                self._fed.clear()
                await self._fed.wait()

    async def _watch_shutdown(self) -> None:
        await self._service.admission.draining.wait()
        self._session.drain()
        self._live.advance()
