"""The real client against the real server, over a line that is cut: every word arrives once.

Each 100 ms of audio has a level of its own, so the fake recognizer hears a word that occurs nowhere else; what came
back can be compared with what was said word by word.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from steno.client.client import Client
from steno.client.events import Reconnected
from steno.streaming.config import ServerOptions
from steno.streaming.protocol import Final, Start
from tests.fakes import tone
from tests.live import Live, in_loop, live_server, until

OPTIONS = ServerOptions(max_ahead_ms=0)
WORDS = [f"w{number}" for number in range(100, 160)]


class Line:
    """A TCP line to a server, in the middle of which somebody stands with shears."""

    def __init__(self) -> None:
        self.target: Live | None = None
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.target is None:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target.port)
        pair = {writer, far_writer}
        self._writers |= pair
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= pair

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2048):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    def cut(self) -> None:
        """Both ends see the connection die."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    """A line that leads nowhere until `target` is set."""
    between = Line()
    server = await asyncio.start_server(between.carry, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        between.cut()
        server.close()


def client_of(between: Line) -> Client:
    return Client(
        f"ws://127.0.0.1:{between.port}",
        Start(vad=False, interval_ms=100),
        reconnects=50,
        retry_delays_s=[0.0] * 50,
    )


async def dictate(client: Client) -> None:
    """All the words, ten to a segment."""
    for number, word in enumerate(WORDS):
        await client.send(tone(int(word[1:]) / 1000, 0.1))
        if number % 10 == 9:
            await client.commit()
        await asyncio.sleep(0)
    await client.finish()


async def collect(client: Client, events: list[object]) -> None:
    async for event in client:
        events.append(event)


def words_in(events: list[object]) -> list[str]:
    return [word for event in events if isinstance(event, Final) for word in event.text.split()]


@in_loop
async def test_over_a_good_line() -> None:
    async with live_server(server=OPTIONS) as live, line() as between:
        between.target = live
        events: list[object] = []
        async with client_of(between) as client:
            await asyncio.gather(dictate(client), collect(client, events))
        assert words_in(events) == WORDS
        await live.quiet()


@pytest.mark.parametrize("seed", range(4))
@in_loop
async def test_over_a_line_that_is_cut_every_now_and_then(seed: int) -> None:
    rng = np.random.default_rng(seed)
    async with live_server(server=OPTIONS) as live, line() as between:
        between.target = live
        events: list[object] = []

        async def shears() -> None:
            for _ in range(6):
                seen = len(events)
                wanted = int(rng.integers(1, 6))
                await until(lambda: len(events) >= seen + wanted)  # noqa: B023 - awaited at once
                between.cut()

        async with client_of(between) as client:
            cutting = asyncio.create_task(shears())
            await asyncio.gather(dictate(client), collect(client, events))
            cutting.cancel()
        assert words_in(events) == WORDS
        assert any(isinstance(event, Reconnected) and event.resumed for event in events)
        await until(lambda: live.value("steno_sessions_detached") == 0)
        await live.quiet()


@in_loop
async def test_over_a_restart_of_the_server() -> None:
    """The old server drains and ends with 1012; the new one knows nothing of the session."""
    async with line() as between:
        events: list[object] = []
        async with live_server(server=OPTIONS) as old, live_server(server=OPTIONS) as new:
            between.target = old
            async with client_of(between) as client:
                reading = asyncio.create_task(collect(client, events))
                for number, word in enumerate(WORDS):
                    await client.send(tone(int(word[1:]) / 1000, 0.1))
                    if number == 33:
                        await until(lambda: old.value("steno_audio_seconds_total") > 3.0)
                        between.target = new
                        old.server.ask_to_end()
                        await until(old.service.admission.draining.is_set)
                await client.finish()
                await reading
            assert words_in(events) == WORDS
            restarts = [event for event in events if isinstance(event, Reconnected)]
            assert [event.resumed for event in restarts] == [False]
            assert sum(event.missing_ms for event in restarts) == 0
            await new.quiet()
