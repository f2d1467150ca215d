"""Who gets in: the number of sessions, and the end of all admission when the server drains.

Knows counts and one flag. Refuses to know sockets, keys and the engine. Lives on the event loop's thread.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from .metrics import Metrics
from .protocol import ErrorCode, ProtocolError


class Admission:
    """`with admission.session(...)` around each session's life."""

    def __init__(self, max_sessions: int, metrics: Metrics) -> None:
        self._max_sessions = max_sessions
        self._metrics = metrics
        self._open = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = asyncio.Event()
        """Set once: no new sessions, and those that run are to come to their end."""

    @property
    def sessions(self) -> int:
        """Sessions open now."""
        return self._open

    @contextmanager
    def session(self, protocol: str) -> Iterator[None]:
        """Count a session of `protocol` (a metrics label) while the block runs.

        Raises ProtocolError RESTARTING or FULL instead of entering.
        """
        refusal = self.refusal()
        if refusal is not None:
            self._metrics.sessions_refused.labels(refusal.code.value).inc()
            raise refusal
        self._open += 1
        self._empty.clear()
        self._metrics.sessions_opened.labels(protocol).inc()
        self._metrics.sessions.set(self._open)
        try:
            yield
        finally:
            self._open -= 1
            self._metrics.sessions.set(self._open)
            if self._open == 0:
                self._empty.set()

    def refusal(self) -> ProtocolError | None:
        """Why a session that asks now would not get in."""
        if self.draining.is_set():
            return ProtocolError(ErrorCode.RESTARTING, "the server is shutting down, connect again soon")
        if self._open >= self._max_sessions:
            return ProtocolError(ErrorCode.FULL, f"all {self._max_sessions} sessions are in use")
        return None

    async def drain(self, timeout_s: float) -> bool:
        """Admit nobody any more and wait for the sessions to end; False when some did not within `timeout_s`."""
        self.draining.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
