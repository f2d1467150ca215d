"""The client: audio out, events in, over a connection that may break.

    async with Client("ws://localhost:8765") as client:
        await client.send(samples)
        await client.finish()
        async for event in client:
            ...

Knows the protocol's order and how to come back after a break. Refuses to know microphones, files and screens. A
broken connection is resumed where the server offers it; where the session itself is lost, a new one gets all audio
after the last final, so that every word arrives once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import MappingProxyType, TracebackType
from typing import Self

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from steno.streaming.protocol import (
    Clear,
    Commit,
    Done,
    Error,
    ErrorCode,
    Final,
    Gap,
    Partial,
    Ready,
    ServerMessage,
    Start,
    Stop,
)

from .audio import to_pcm16
from .connection import (
    DEFAULT_URL,
    Broken,
    CannotConnect,
    ClientError,
    Connection,
    ServerError,
    stream_url,
)
from .events import Event, EventQueue, Reconnected
from .replay import Frame, Replay
from .timeline import Timeline

RETRY_DELAYS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

_SAMPLE_BYTES = MappingProxyType({"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1})
_CANNOT_RESUME = frozenset({ErrorCode.UNKNOWN_RESUME, ErrorCode.RESUME_LOST})
_WORTH_ANOTHER_TRY = frozenset({ErrorCode.RESTARTING, ErrorCode.INTERNAL, ErrorCode.SLOW_READER, ErrorCode.FULL})


class ConnectionLost(ClientError):
    """The connection broke and could not be restored."""


class Client:
    """One recording's conversation with a server; iterate it for events until `Done`.

    Entering connects and waits for `ready`; it raises CannotConnect or ServerError. Iterating and sending raise
    ServerError or ConnectionLost when the session is over early. `reconnects`: how many breaks in a row, with no
    message between them, are mended; each is tried after every delay of `retry_delays_s`. `ahead_s`: how far audio may
    run ahead of the clock, within what the server allows; it also bounds what a new session gets to hear again.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        start: Start | None = None,
        *,
        token: str | None = None,
        reconnects: int = 1,
        ahead_s: float = 50.0,
        unsent_s: float = 10.0,
        connect_timeout_s: float = 10.0,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = stream_url(url)
        self._start = start or Start()
        if self._start.encoding not in _SAMPLE_BYTES:
            raise ValueError(f"encoding is {self._start.encoding!r}, expected one of {', '.join(_SAMPLE_BYTES)}")
        self._token = token
        self._reconnects = reconnects
        self._connect_timeout_s = connect_timeout_s
        self._retry_delays_s = tuple(retry_delays_s)
        self._clock = clock
        self._sleep = sleep

        rate_hz = self._start.sample_rate
        self._ahead_limit = round(ahead_s * rate_hz)
        self._replay = Replay(
            frame_bytes=_SAMPLE_BYTES[self._start.encoding] * self._start.channels,
            limit_samples=self._ahead_limit,
        )
        self._unsent_limit = round(unsent_s * rate_hz)
        self._timeline = Timeline(rate_hz)
        self._began_s: float | None = None
        self._received_seq = 0
        self._breaks_in_a_row = 0
        self._session_is_lost = False
        self._events = EventQueue()
        self._to_send = asyncio.Event()
        self._room = asyncio.Event()
        self._connection: Connection | None = None
        self._failure: ClientError | None = None
        self._conversation: asyncio.Task[None] | None = None

    @property
    def ready(self) -> Ready:
        """The server's answer to the latest `start`: its model, languages and limits."""
        return self._open_connection.ready

    async def __aenter__(self) -> Self:
        self._connection = await self._open(self._start)
        self._conversation = asyncio.create_task(self._converse())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._conversation is not None:
            self._conversation.cancel()
            await asyncio.wait([self._conversation])
        if self._connection is not None:
            await self._connection.close()

    async def send(self, audio: NDArray[np.float32] | bytes) -> None:
        """Send audio: float32 samples in [-1, 1], shape [N] or [N, channels], or bytes in the session's encoding.

        Waits while more than `unsent_s` seconds stand in line, which is also what happens during a reconnect.
        Raises ValueError for bytes that are not whole samples, ClientError when the session is over.
        """
        frame = audio if isinstance(audio, bytes) else self._encoded(audio)
        self._say(frame)
        while self._replay.unsent_samples > self._unsent_limit and self._failure is None:
            self._room.clear()
            await self._room.wait()
        self._raise_failure()

    async def skip(self, samples: int) -> None:
        """Tell that `samples` of stream time are lost on this side, so that later times stay true."""
        self._say(Gap(samples=samples))

    async def commit(self) -> None:
        """End the open segment now; its final follows."""
        self._say(Commit())

    async def clear(self) -> None:
        """Drop the open segment."""
        self._say(Clear())

    async def finish(self) -> None:
        """No more audio: all finals follow, then Done."""
        self._say(Stop())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.take()
        if event is None:
            self._raise_failure()
            raise StopAsyncIteration
        return event

    def _say(self, frame: Frame) -> None:
        self._raise_failure()
        self._replay.add(frame)
        self._to_send.set()

    def _encoded(self, samples: NDArray[np.float32]) -> bytes:
        if self._start.encoding == "pcm_f32le":
            return samples.astype("<f4").tobytes()
        if self._start.encoding == "pcm_s16le":
            return to_pcm16(samples)
        raise ValueError(f"samples cannot be sent as {self._start.encoding}: encode them and send bytes")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    @property
    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise ClientError("not connected: use `async with Client(...)`")
        return self._connection

    async def _converse(self) -> None:
        """The life of the conversation: talk, mend what breaks, and leave a reason when it is over."""
        try:
            while True:
                try:
                    await self._talk(self._open_connection)
                    return
                except Broken as broken:
                    self._connection = await self._mend(str(broken))
        except ClientError as failure:
            self._failure = failure
        except Exception as fault:  # the root of this task: whoever iterates must hear of it
            self._failure = ClientError(f"the client failed: {fault!r}")
            self._failure.__cause__ = fault
        finally:
            self._events.close()
            self._room.set()

    async def _talk(self, connection: Connection) -> None:
        """Send and receive over one connection until Done. Raises Broken or ClientError."""
        sender = asyncio.create_task(self._send_frames(connection))
        try:
            while True:
                message = await connection.receive()
                if isinstance(message, Error):
                    raise self._consequence(message)
                if self._is_news(message):
                    self._publish(self._timeline.translate(message))
                if isinstance(message, Done):
                    return
        finally:
            sender.cancel()
            await asyncio.wait([sender])
            await connection.close()

    async def _send_frames(self, connection: Connection) -> None:
        try:
            while True:
                frame = self._replay.next()
                if frame is None:
                    self._to_send.clear()
                    await self._to_send.wait()
                else:
                    await self._keep_pace()
                    await connection.send(frame)
                    self._room.set()
        except Broken:
            return  # the receiving side sees it too

    async def _keep_pace(self) -> None:
        """Wait while the session's audio is further ahead of the clock than a server accepts."""
        now_s = self._clock()
        if self._began_s is None:
            self._began_s = now_s
        due = self._replay.cursor_samples - self._timeline.origin - self._ahead_limit
        wait_s = due / self._start.sample_rate - (now_s - self._began_s)
        if wait_s > 0:
            await self._sleep(wait_s)

    def _consequence(self, error: Error) -> Exception:
        """What an `error` message means for us: the end, or a break that a new connection mends."""
        if error.code not in _WORTH_ANOTHER_TRY:
            return ServerError(error)
        if error.audio_ms is not None:
            self._timeline.settle(error.audio_ms)
        self._session_is_lost = True
        return Broken(error.message)

    def _is_news(self, message: ServerMessage) -> bool:
        """After a resume the server may say again what arrived just before the break."""
        if isinstance(message, Ready | Partial):
            return True
        if 0 < message.seq <= self._received_seq:
            return False
        self._received_seq = max(self._received_seq, message.seq)
        self._breaks_in_a_row = 0
        return True

    def _publish(self, message: ServerMessage) -> None:
        if isinstance(message, Final):
            self._replay.forget(self._timeline.transcribed_samples)
        if not isinstance(message, Ready | Error):
            self._events.put(message)

    async def _mend(self, reason: str) -> Connection:
        """A new connection that goes on where the broken one was. Raises ConnectionLost, ServerError."""
        if self._breaks_in_a_row >= self._reconnects:
            raise ConnectionLost(f"the connection to {self.url} broke: {reason}")
        self._breaks_in_a_row += 1
        last: ClientError | None = None
        for delay_s in self._retry_delays_s:
            await self._sleep(delay_s)
            try:
                return await self._reopen(reason)
            except ServerError as refused:
                if refused.code in _CANNOT_RESUME:
                    self._session_is_lost = True
                elif refused.code not in _WORTH_ANOTHER_TRY:
                    raise
                last = refused
            except CannotConnect as failed:
                last = failed
        raise ConnectionLost(f"the connection to {self.url} broke ({reason}) and could not be restored: {last}")

    async def _reopen(self, reason: str) -> Connection:
        """One try; only a successful one changes what this side remembers."""
        token = None if self._session_is_lost else self.ready.resume
        start = replace(self._start, resume=token, received=self._received_seq) if token else self._start
        connection = await self._open(start)
        missing = self._resume(connection.ready) if token else self._begin_anew()
        self._session_is_lost = False
        self._events.put(Reconnected(reason, resumed=bool(token), missing_ms=missing * 1000 // self._start.sample_rate))
        return connection

    def _resume(self, ready: Ready) -> int:
        """Go on with what the server lacks; returns the samples that it will never get."""
        if ready.stopped:
            self._replay.conclude()
            return 0
        return self._replay.rewind(self._timeline.origin + ready.audio_samples)

    def _begin_anew(self) -> int:
        """Say again what is in no final, as far back as is kept; returns the samples of speech lost before that."""
        oldest = max(self._replay.start_samples, self._replay.cursor_samples - self._ahead_limit)
        origin = max(self._timeline.transcribed_samples, oldest)
        missing = self._timeline.begin_anew(origin)
        self._replay.rewind(origin)
        self._received_seq = 0
        self._began_s = None
        return missing

    async def _open(self, start: Start) -> Connection:
        return await Connection.open(self.url, start, token=self._token, timeout_s=self._connect_timeout_s)
