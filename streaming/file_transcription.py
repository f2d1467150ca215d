"""A whole file through the same engine as the live streams, piece by piece, always behind them.

A file is a session whose client hears no partials and whose audio comes as fast as the engine takes it. Knows sessions,
blocks of samples and when to read more of them. Refuses to know HTTP and containers.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import numpy as np

from . import protocol as wire
from .config import SessionOptions
from .live_session import LiveSession
from .protocol import ErrorCode, Final, NoticeCode, ProtocolError, Start
from .service import Service, new_session, new_session_id
from .unheard_audio import has_speech
from .work import SAMPLE_RATE, Samples

BLOCK_S = 4
"""Seconds of audio decoded at a time: a message of at most 256 kB to the session."""

STEP_S = 8
"""Seconds of audio after which the model hears them. A live session waits for a step that has begun: with the 30 s of a
segment in one step it would wait for long where the model is slow."""

_SLACK_S = 60


def file_options(options: SessionOptions, max_s: int) -> SessionOptions:
    """The server's options, for a session that hears a file as fast as the engine takes it.

    Pauses of a second within a sentence are common in recordings, and nobody waits: the segments may be longer, and
    what lies around them is heard too.
    """
    return replace(
        options,
        max_session_s=max_s + _SLACK_S,
        interval_ms=STEP_S * 1000,
        max_message_bytes=max(options.max_message_bytes, 4 * BLOCK_S * SAMPLE_RATE),
        max_context_chars=options.max_context_chars,
        endpoint_ms=max(options.endpoint_ms, 800),
        pre_roll_ms=max(options.pre_roll_ms, 500),
        post_roll_ms=max(options.post_roll_ms, 300),
    )


class FileTranscription:
    """One file. `one_piece`: a file short enough to be one segment is one, silence and all, if there is any speech."""

    def __init__(
        self, service: Service, options: SessionOptions, start: Start, blocks: Iterator[Samples], *, one_piece: bool
    ) -> None:
        self._service = service
        self._options = options
        self._start = start
        self._blocks = blocks
        self._one_piece = one_piece
        self.samples = 0
        """How many were read so far."""
        self._live: LiveSession | None = None

    async def finals(self) -> AsyncIterator[Final]:
        """Every segment's final, in order.

        Raises ProtocolError for what the session refuses and for what could not be transcribed, and whatever reading a
        block raises.
        """
        ahead, whole = await self._read_ahead()
        vad = not (self._one_piece and whole)
        if not vad and not await asyncio.to_thread(has_speech, np.concatenate(ahead), self._options):
            return
        session = new_session(self._service, new_session_id(), self._options)
        self._live = LiveSession(session, self._service.engine, self._service.metrics, bulk=True)
        session.receive_control(_with_format(self._start, vad))
        self._live.advance()
        async for final in self._run(self._live, ahead):
            yield final

    def close(self) -> None:
        """Free what the engine holds; to be called in any case."""
        if self._live is not None:
            self._live.session.receive_eof()
            self._live.end()

    async def _read_ahead(self) -> tuple[list[Samples], bool]:
        """The first blocks, up to what may be one segment, and whether that is the whole file."""
        limit = (self._options.max_segment_ms - self._options.cut_search_ms) * SAMPLE_RATE // 1000
        ahead: list[Samples] = []
        while sum(map(len, ahead)) <= limit:
            block = await self._next()
            if block is None:
                return ahead, True
            ahead.append(block)
        return ahead, False

    async def _next(self) -> Samples | None:
        block = await asyncio.to_thread(next, self._blocks, None)
        self.samples += 0 if block is None else len(block)
        return block

    async def _run(self, live: LiveSession, ahead: list[Samples]) -> AsyncIterator[Final]:
        session = live.session
        stopped = False
        while True:
            for message in session.messages_to_send():
                _raise_fault(message)
                if isinstance(message, Final):
                    yield message
            if session.close_code is not None:
                return
            if stopped or session.backlog > STEP_S * SAMPLE_RATE:
                await live.news.wait()
                live.news.clear()
            else:
                block = ahead.pop(0) if ahead else await self._next()
                if block is None:
                    session.receive_control(wire.Stop())
                    stopped = True
                else:
                    session.receive_audio(block.astype("<f4").tobytes())
                live.advance()


def _raise_fault(message: wire.ServerMessage) -> None:
    if isinstance(message, wire.Error):
        raise ProtocolError(message.code, message.message)
    if isinstance(message, wire.Notice) and message.code is NoticeCode.UNTRANSCRIBED:
        span = f"{message.start_ms} to {message.end_ms} ms"
        raise ProtocolError(ErrorCode.INTERNAL, f"the audio from {span} could not be transcribed: {message.message}")


def _with_format(start: Start, vad: bool) -> Start:
    return Start(
        language=start.language,
        languages=start.languages,
        context=start.context,
        words=start.words,
        logprobs=start.logprobs,
        encoding="pcm_f32le",
        sample_rate=SAMPLE_RATE,
        vad=vad,
    )
