"""Who gets in: the number of sessions, what the engine can take, and the end of all admission when the server drains.

Knows counts, one flag and why the engine would refuse. Refuses to know sockets, keys and what the engine is. Lives on
the event loop's thread.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .metrics import Metrics
from .protocol import ErrorCode, ProtocolError


class Admission:
    """`with admission.session(...)` around each session's life.

    `engine_refusal` says why the engine could not serve another session, None when it can.
    """

    def __init__(
        self, max_sessions: int, metrics: Metrics, engine_refusal: Callable[[], str | None] = lambda: None
    ) -> None:
        self._max_sessions = max_sessions
        self._metrics = metrics
        self._engine_refusal = engine_refusal
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
    def session(self, protocol: str, *, new: bool = True) -> Iterator[None]:
        """Count a session of `protocol` (a metrics label) while the block runs. `new` False: it may be one that the
        engine serves already; then `check_engine` is to be called as soon as it is known that it is not.

        Raises ProtocolError RESTARTING or FULL instead of entering.
        """
        refusal = self.refusal()
        if refusal is not None:
            self._metrics.sessions_refused.labels(refusal.code.value).inc()
            raise refusal
        if new:
            self.check_engine()
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

    def check_engine(self) -> None:
        """Raises ProtocolError FULL when the engine could not serve another session."""
        reason = self._engine_refusal()
        if reason is not None:
            self._metrics.sessions_refused.labels(ErrorCode.FULL.value).inc()
            raise ProtocolError(ErrorCode.FULL, reason)

    async def drain(self, timeout_s: float) -> bool:
        """Admit nobody any more and wait for the sessions to end; False when some did not within `timeout_s`."""
        self.draining.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
