"""A session joined to the engine: work goes there, results come back, on the event loop's thread.

Outlives its connection when the client may come back. Knows the Session's and the engine's doors; refuses to know
sockets and frames: a connection feeds `session`, calls `advance`, and waits for `news`.
"""

import asyncio
import logging
from collections.abc import Callable

from .engine_door import EngineFull, EngineLike, EngineStopped
from .metrics import Metrics
from .protocol import ErrorCode, ProtocolError
from .session import Session
from .work import SAMPLE_RATE, HypothesisReady, LoadChanged, Result, StreamFailed

logger = logging.getLogger(__name__)


class LiveSession:
    """`session` plus its door to the engine. Made, used and ended on one event loop.

    `bulk`: nobody waits; all it wants yields to live sessions.
    """

    def __init__(self, session: Session, engine: EngineLike, metrics: Metrics, *, bulk: bool = False) -> None:
        self.session = session
        self.news = asyncio.Event()
        """Set whenever there may be messages to send or `close_code` may be set; whoever waits clears it."""
        self.room = asyncio.Event()
        """Clear while more audio should wait in the socket."""
        self.room.set()
        self.on_takeover: Callable[[], None] | None = None
        """Set by the connection that holds the session; called when another one takes it over."""
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._door = engine.connect(self._deliver, bulk=bulk)
        self._began: float | None = None
        self._ended = False

    def check_pace(self, max_ahead_ms: int) -> None:
        """To be called after audio: end the session when it runs ahead of the clock by more than `max_ahead_ms`.

        The clock starts with the first audio and does not stop while the client is away. 0: no bound.
        """
        now = self._loop.time()
        if self._began is None:
            self._began = now
        ahead_ms = self.session.position * 1000 / SAMPLE_RATE - (now - self._began) * 1000
        if max_ahead_ms and ahead_ms > max_ahead_ms:
            self.session.receive_fault(
                ProtocolError(
                    ErrorCode.TOO_FAST,
                    f"the audio is {ahead_ms:.0f} ms ahead of the clock, at most {max_ahead_ms} ms are allowed",
                )
            )

    def advance(self) -> None:
        """To be called after every `session.receive_*`: pass the work on, wake the writer."""
        try:
            self._door.submit(self.session.work_to_run())
        except EngineFull as error:
            self.session.receive_fault(ProtocolError(ErrorCode.BACKLOG_FULL, str(error)))
        except EngineStopped as error:
            self.session.receive_fault(ProtocolError(ErrorCode.INTERNAL, str(error)))
        if self.session.accepts_audio or self.session.close_code is not None:
            self.room.set()
        else:
            self.room.clear()
        self.news.set()

    def end(self) -> None:
        """Free what the engine holds. May be called twice."""
        if self._ended:
            return
        self._ended = True
        self._door.disconnect()
        self._metrics.partials_dropped.inc(self.session.partials_replaced)
        self._metrics.finals_contradicted.inc(self.session.contradictions)

    def _deliver(self, result: Result) -> None:
        """Called on the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._receive, result)
        except RuntimeError:
            logger.debug("a result came after the event loop was closed")

    def _receive(self, result: Result) -> None:
        if self._ended:
            return
        try:
            match result:
                case HypothesisReady(segment, hypothesis, words):
                    self.session.receive_hypothesis(segment, hypothesis, words)
                case StreamFailed(segment, message):
                    self.session.receive_failure(segment, message)
                case LoadChanged(interval_ms):
                    self.session.receive_load(interval_ms)
            self.advance()
        except Exception:  # the root of a callback of the event loop: there is no task to end
            logger.exception("session %s failed on a result", self.session.session_id)
            self._metrics.internal_errors.inc()
            self.session.receive_fault(ProtocolError(ErrorCode.INTERNAL, "the session failed"))
            self.advance()
