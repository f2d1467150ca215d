"""The real client and the real server over a line that breaks: every word arrives, once, and at its time.

Recorded speech, the real VAD and real sockets; between the two a relay cuts the connection after random numbers of
bytes, in the middle of frames and handshakes too. Only the recognizer is fake: its text is a function of the samples.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from steno.client.client import Client
from steno.client.events import Reconnected
from steno.streaming.config import ServerOptions
from steno.streaming.protocol import Done, Final, Start

from .audio_clips import clip
from .live import in_loop, live_server

STARTS_S = (0.4, 6.0, 12.0, 20.0, 30.0)
PAUSE = np.zeros(12_000, np.float32)
Told = list[tuple[int, str, int, int]]


class Relay:
    """Passes bytes on between its own port and the server's; each connection lives for so many bytes."""

    def __init__(self, server_port: int, lives: list[int]) -> None:
        self._server_port = server_port
        self._lives = lives
        self._left = 0
        self.cuts = 0
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._left = self._lives.pop() if self._lives else 10**9
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for each in (writer, far_writer):
            each.transport.abort()
        await asyncio.wait(pumps)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data[: self._left])
                await writer.drain()
                self._left -= len(data)
                if self._left <= 0:
                    self.cuts += 1
                    return
        except ConnectionError:
            return


async def told(port: int, audio: bytes) -> tuple[Told, list[Reconnected]]:
    """What a client hears that sends `audio` in packets of 100 ms."""
    finals: Told = []
    reconnected: list[Reconnected] = []
    client = Client(
        f"ws://127.0.0.1:{port}",
        Start(interval_ms=200),
        reconnects=100,
        retry_delays_s=(0.0,) * 20,
    )
    async with client:
        for at in range(0, len(audio), 3200):
            await client.send(audio[at : at + 3200])
        await client.finish()
        async for event in client:
            match event:
                case Final():
                    finals.append((event.segment, event.text, event.start_ms, event.end_ms))
                case Reconnected():
                    reconnected.append(event)
                case Done():
                    assert event.audio_ms == len(audio) // 32
    return finals, reconnected


def speech() -> bytes:
    pieces = [each for start_s in STARTS_S for each in (clip(4.0, start_s), PAUSE)]
    return bytes((np.concatenate(pieces) * 32767).astype("<i2").tobytes())


@pytest.mark.parametrize("seed", range(4))
def test_no_word_is_lost_or_doubled(seed: int) -> None:
    audio = speech()

    @in_loop
    async def scenario() -> None:
        async with live_server(server=ServerOptions()) as live:
            whole, _ = await told(live.port, audio)
            assert len(whole) >= len(STARTS_S)
            chance = random.Random(seed)
            lives = [chance.choice([1000, 10_000, 100_000, 200_000]) + chance.randrange(3000) for _ in range(12)]
            async with Relay(live.port, [10**4, *lives, 30_000]).running() as relay:
                again, reconnected = await told(relay.port, audio)
            assert again == whole
            assert relay.cuts >= 5
            assert any(each.resumed for each in reconnected)
            assert all(each.missing_ms == 0 for each in reconnected)

    scenario()
