"""Sessions by their resume token: held by a connection, or waiting for a client that was cut off.

Knows tokens, a time to wait and a bound; when the room is full, who waited longest leaves. Refuses to know sockets and
messages.
"""

import asyncio
import secrets

from .live_session import LiveSession
from .metrics import Metrics
from .protocol import ErrorCode, ProtocolError, Start


class WaitingRoom:
    """Every resumable session of the server."""

    def __init__(self, ttl_s: float, max_waiting: int, metrics: Metrics) -> None:
        self._ttl_s = ttl_s
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._sessions: dict[str, LiveSession] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def new_token(self) -> str | None:
        """A secret for a new session; None where nobody may come back."""
        return secrets.token_urlsafe(24) if self._ttl_s and self._max_waiting else None

    def hold(self, token: str, live: LiveSession) -> None:
        """`live` is served by a connection and may be taken over with `token`."""
        self._sessions[token] = live

    def forget(self, token: str | None) -> None:
        """The session is over; unknown tokens are fine."""
        if token is None:
            return
        self._sessions.pop(token, None)
        timer = self._timers.pop(token, None)
        if timer is not None:
            timer.cancel()
        self._count()

    def wait(self, token: str) -> None:
        """The connection of this session is lost: keep it for the time to live."""
        self._sessions[token].session.detach()
        while len(self._timers) >= self._max_waiting:
            self._expire(next(iter(self._timers)))
        loop = asyncio.get_running_loop()
        self._timers[token] = loop.call_later(self._ttl_s, self._expire, token)
        self._count()

    def take(self, start: Start) -> LiveSession:
        """The session that `start.resume` names, attached again; a connection that still holds it is told to let go.

        Raises ProtocolError: unknown token, or what the session itself objects to.
        """
        live = self._sessions.get(start.resume or "")
        if live is None:
            raise ProtocolError(ErrorCode.UNKNOWN_RESUME, "no such session waits to be resumed; start a new one")
        live.session.reattach(start)
        timer = self._timers.pop(start.resume or "", None)
        if timer is not None:
            timer.cancel()
        if live.on_takeover is not None:
            live.on_takeover()
        self._metrics.sessions_resumed.inc()
        self._count()
        return live

    def close(self) -> None:
        """Drop all that wait: the server ends."""
        for token in list(self._timers):
            self._expire(token)

    def _expire(self, token: str) -> None:
        live = self._sessions[token]
        live.session.receive_eof()
        live.end()
        self.forget(token)

    def _count(self) -> None:
        self._metrics.sessions_detached.set(len(self._timers))
