"""Clients that break off, say nonsense, say too much, say nothing or do not listen.

Each gets the right code or is cut, what it held is freed, and a session beside it notices nothing.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from steno.streaming import stream_endpoint, transport
from steno.streaming.config import ServerOptions, SessionOptions
from tests.fakes import tone
from tests.live import Live, hear, hear_out, in_loop, live_server, pcm, say, until

PUSH_TO_TALK = {"vad": False, "interval_ms": 100}

Step = Callable[[ClientConnection], Awaitable[object]]


@asynccontextmanager
async def undisturbed(live: Live) -> AsyncIterator[None]:
    """A session that runs beside whatever the block does, and must end as if it had been alone."""
    async with live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        await client.send(pcm(tone(0.5, 0.3)))
        await hear(client, "partial")
        yield
        await client.send(pcm(tone(0.5, 0.2)))
        await say(client, "stop")
        heard = await hear_out(client)
        assert heard.texts == ["w500 w500 w500 w500 w500"]
        assert heard.code == 1000


# Breaking off

STEPS: tuple[tuple[str, Step], ...] = (
    ("handshake", lambda client: asyncio.sleep(0)),
    ("start sent", lambda client: say(client, "start", **PUSH_TO_TALK)),
    ("ready", lambda client: hear(client, "ready")),
    ("audio sent", lambda client: client.send(pcm(tone(0.1, 0.3)))),
    ("speech_start", lambda client: hear(client, "speech_start")),
    ("partial", lambda client: hear(client, "partial")),
    ("commit sent", lambda client: say(client, "commit")),
    ("speech_end", lambda client: hear(client, "speech_end")),
    ("final", lambda client: hear(client, "final")),
    ("second segment", lambda client: client.send(pcm(tone(0.1, 0.3)))),
    ("stop sent", lambda client: say(client, "stop")),
    ("second final", lambda client: hear(client, "final")),
    ("done", lambda client: hear(client, "done")),
)


@pytest.mark.parametrize("resume_ttl_s", [0, 1], ids=["for good", "resumable"])
@pytest.mark.parametrize("how", ["abort", "close"])
@in_loop
async def test_a_client_that_dies_at_any_message_leaves_nothing_behind(how: str, resume_ttl_s: int) -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=resume_ttl_s)) as live, undisturbed(live):
        for last in range(len(STEPS)):
            async with live.connect() as client:
                for _, step in STEPS[: last + 1]:
                    await step(client)
                if how == "abort":
                    client.transport.abort()
                else:
                    await client.close()
        await until(lambda: live.service.admission.sessions == 1)
        await until(lambda: live.value("steno_sessions_detached") == 0)
        await until(lambda: len(live.recognizer.open_streams) == 1)
        assert live.value("steno_internal_errors_total") == 0


async def open_and_drop(live: Live, count: int) -> None:
    """Connections in all stages of life, dropped; sixteen at a time."""

    async def one(index: int) -> None:
        if index % 4 == 0:
            _, writer = await asyncio.open_connection("127.0.0.1", live.port)
            writer.write(b"GET /v1/str"[: index % 12])
            writer.transport.abort()
            return
        async with live.connect() as client:
            if index % 4 >= 2:
                await say(client, "start", **PUSH_TO_TALK)
            if index % 4 == 3:
                await client.send(pcm(tone(0.1, 0.2)))
            client.transport.abort()

    for begin in range(0, count, 16):
        await asyncio.gather(*(one(index) for index in range(begin, min(begin + 16, count))))


@in_loop
async def test_hundreds_of_connections_opened_and_dropped() -> None:
    async with live_server() as live, undisturbed(live):
        await open_and_drop(live, 300)
        await until(lambda: live.service.admission.sessions == 1)
        await until(lambda: len(live.recognizer.open_streams) == 1)
        await until(lambda: len(live.server.server_state.connections) == 1)
        assert live.value("steno_internal_errors_total") == 0


@pytest.mark.slow
def test_ten_thousand_connections_leave_the_memory_where_it_was() -> None:
    async def resident_kib() -> int:
        status = await asyncio.to_thread(Path("/proc/self/status").read_text)
        return int(status.split("VmRSS:")[1].split()[0])

    async def run() -> None:
        async with live_server(server=ServerOptions(resume_ttl_s=0, idle_timeout_s=3600)) as live:
            await open_and_drop(live, 10_000)  # allocator and caches have their size after this
            await live.quiet()
            before = await resident_kib()
            open_files = len(os.listdir("/proc/self/fd"))
            async with undisturbed(live):
                await open_and_drop(live, 10_000)
            await live.quiet()
            await until(lambda: not live.server.server_state.connections)
            assert len(os.listdir("/proc/self/fd")) <= open_files + 1
            assert await resident_kib() - before < 16 * 1024

    asyncio.run(run())


# Saying nonsense


def binary(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


@pytest.mark.parametrize(
    ("frames", "error", "code"),
    [
        (["{"], "bad_json", 1007),
        (["[1, 2]"], "bad_field", 1007),
        (['{"type": "begin"}'], "unknown_type", 1007),
        (['{"type": "start", "speed": 3}'], "bad_field", 1007),
        (['{"type": "start", "version": 99}'], "unsupported_version", 1007),
        (['{"type": "start", "sample_rate": 12345}'], "unsupported_sample_rate", 1007),
        (['{"type": "start", "encoding": "mp3"}'], "unsupported_encoding", 1007),
        (['{"type": "start", "channels": 5}'], "unsupported_channels", 1007),
        (['{"type": "start", "language": "Klingon"}'], "unknown_language", 1007),
        (["[" * 100_000], "bad_field", 1007),
        ([b"\0\0"], "start_expected", 1008),
        (['{"type": "commit"}'], "start_expected", 1008),
        (['{"type": "start"}', '{"type": "start"}'], "already_started", 1008),
        (['{"type": "start"}', '{"type": "stop"}', '{"type": "commit"}'], "after_stop", 1008),
        (['{"type": "start"}', '{"type": "stop"}', b"\0\0"], "after_stop", 1008),
        (['{"type": "start"}', b"\0\0\0"], "bad_audio", 1003),
        (['{"type": "start", "encoding": "pcm_f32le"}', b"\0\0"], "bad_audio", 1003),
        (['{"type": "start", "encoding": "pcm_f32le"}', binary(float("nan"), 0.1)], "bad_audio", 1003),
        (['{"type": "start", "encoding": "pcm_f32le"}', binary(float("inf"))], "bad_audio", 1003),
        (['{"type": "start"}', b"\0" * (1 << 20) + b"\0\0"], "message_too_big", 1009),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
@in_loop
async def test_nonsense_gets_its_own_error_and_close_code(frames: list[str | bytes], error: str, code: int) -> None:
    async with live_server() as live:
        async with undisturbed(live), live.connect() as client:
            for frame in frames:
                await client.send(frame)
            heard = await hear_out(client)
            if not (error == "after_stop" and heard.code == 1000):  # the stop may have been served before
                assert (heard.error, heard.code) == (error, code)
                assert live.value("steno_faults_total", code=error) == 1
        await live.quiet()
        assert live.value("steno_internal_errors_total") == 0


class RawClient:
    """A WebSocket client that may break every rule: handshake done, then bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, live: Live, receive_buffer_bytes: int | None = None) -> "RawClient":
        sock = socket.socket()
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", live.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        writer.write(
            b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    def send(self, opcode: int, payload: bytes, *, claimed: int | None = None) -> None:
        """One masked frame (mask zero). `claimed`: the length that its header gives."""
        length = len(payload) if claimed is None else claimed
        self.writer.write(bytes((0x80 | opcode, 0xFF)) + struct.pack(">QI", length, 0) + payload)

    async def frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame of the server."""
        head = await self._reader.readexactly(2)
        length = head[1]
        if length == 126:
            length = int.from_bytes(await self._reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self._reader.readexactly(8), "big")
        return head[0] & 15, await self._reader.readexactly(length)

    async def close_code(self) -> int:
        """Read on until the close frame."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")

    async def gone(self) -> bool:
        """Read on until the server hangs up."""
        try:
            while await self._reader.read(1024):
                pass
        except ConnectionError:
            pass
        return True


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [(1, b"\xff\xfe\xfd", 1007), (3, b"", 1002), (11, b"", 1002), (9, b"x" * 200, 1002)],
    ids=["text that is no UTF-8", "reserved data opcode", "reserved control opcode", "ping too long"],
)
@in_loop
async def test_broken_frames_get_the_codes_of_the_standard(opcode: int, payload: bytes, code: int) -> None:
    async with live_server() as live, undisturbed(live):
        client = await RawClient.connect(live)
        client.send(opcode, payload)
        assert await client.close_code() == code
        client.writer.transport.abort()


@in_loop
async def test_a_message_of_a_hundred_megabytes_is_refused_by_its_header() -> None:
    async with live_server() as live, undisturbed(live):
        client = await RawClient.connect(live)
        client.send(1, b'{"type": "start"}')
        assert json.loads((await client.frame())[1])["type"] == "ready"
        client.send(2, b"", claimed=100_000_000)
        assert await client.close_code() == 1009
        client.writer.transport.abort()


@in_loop
async def test_a_client_that_goes_on_sending_its_huge_message_still_reads_the_code() -> None:
    async with live_server() as live, undisturbed(live):
        client = await RawClient.connect(live)
        client.send(2, b"\0" * 8_000_000, claimed=100_000_000)
        assert await client.close_code() == 1009
        client.writer.transport.abort()


@in_loop
async def test_bytes_that_are_no_http_are_answered_and_dropped() -> None:
    async with live_server() as live, undisturbed(live):
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
        writer.write(os.urandom(4096) + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.transport.abort()


# Saying too much


@in_loop
async def test_audio_too_far_ahead_of_the_clock_is_refused() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, max_ahead_ms=2000)) as live, undisturbed(live):
        async with live.connect() as client:
            await say(client, "start")
            await client.send(pcm(tone(0.0, 1.5)))
            await client.send(pcm(tone(0.0, 1.5)))
            heard = await hear_out(client)
            assert (heard.error, heard.code) == ("too_fast", 1008)


@in_loop
async def test_without_the_bound_a_file_may_come_at_once() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, max_ahead_ms=0)) as live, live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        for _ in range(20):
            await client.send(pcm(tone(0.1, 1.0)))
        await say(client, "stop")
        heard = await hear_out(client)
        assert heard.texts == [" ".join(["w100"] * 200)]


# Saying nothing


@in_loop
async def test_an_idle_client_is_told_and_closed() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, idle_timeout_s=0.1)) as live:
        async with live.connect() as client:
            await say(client, "start")
            heard = await hear_out(client)
            assert (heard.error, heard.code) == ("idle", 1008)
        await live.quiet()


@in_loop
async def test_a_client_that_never_starts_is_told_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_endpoint, "START_TIMEOUT_S", 0.05)
    async with live_server() as live, live.connect() as client:
        heard = await hear_out(client)
        assert (heard.error, heard.code) == ("idle", 1008)


@in_loop
async def test_a_connection_without_a_request_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.05)
    async with live_server() as live, undisturbed(live):
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
        writer.write(b"GET /v1/stream HTTP/1.1\r\nHost:")
        assert await reader.read() == b""
        writer.close()


@in_loop
async def test_a_half_open_socket_is_found_by_ping_and_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's machine is gone: nothing comes, not even a pong, and nothing says so."""
    monkeypatch.setattr(transport, "CLOSE_TIMEOUT_S", 0.05)
    async with live_server(server=ServerOptions(resume_ttl_s=0, ping_interval_s=0.1)) as live:
        client = await RawClient.connect(live)
        client.send(1, json.dumps({"type": "start", **PUSH_TO_TALK}).encode())
        client.send(2, pcm(tone(0.1, 0.3)))
        await live.quiet()
        await until(lambda: not live.server.server_state.connections)
        client.writer.transport.abort()


# Not listening


@asynccontextmanager
async def cramped(monkeypatch: pytest.MonkeyPatch, **options: float) -> AsyncIterator[Live]:
    """A server whose sockets hold little, so that a client that does not read is felt at once."""
    monkeypatch.setattr(transport, "WRITE_BUFFER_BYTES", 2048)
    monkeypatch.setattr(transport, "CLOSE_TIMEOUT_S", 0.5)
    server = ServerOptions(resume_ttl_s=0, max_ahead_ms=0, **options)  # type: ignore[arg-type]
    session = SessionOptions(max_segment_ms=120_000, max_backlog_ms=240_000, cut_search_ms=0, commit_agreement=10)
    async with live_server(server=server, session=session, send_buffer_bytes=4096) as live:
        yield live


async def chatter(live: Live, client: RawClient) -> None:
    """Speak on without reading until the server has far more to say than the sockets hold."""
    client.send(1, json.dumps({"type": "start", **PUSH_TO_TALK}).encode())
    for _ in range(40):
        client.send(2, pcm(tone(0.1, 1.0)))  # 400 words: each partial has 2 kB
    seen = live.value("steno_partial_wait_seconds_count")
    for partials in range(1, 40):
        await until(partial(more_than, live, seen + partials - 1))
        client.send(2, pcm(tone(0.1, 0.1)))


def more_than(live: Live, partials: float) -> bool:
    """Whether the engine made more partials than that, or the server has had enough of a client."""
    return (
        live.value("steno_partial_wait_seconds_count") > partials
        or live.value("steno_faults_total", code="slow_reader") > 0
    )


@in_loop
async def test_a_slow_reader_gets_fewer_partials_and_every_final(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cramped(monkeypatch) as live:
        client = await RawClient.connect(live, receive_buffer_bytes=4096)
        await chatter(live, client)
        client.send(1, b'{"type": "stop"}')
        await until(lambda: live.value("steno_final_wait_seconds_count") == 1)
        messages: list[dict[str, Any]] = []
        while True:
            opcode, payload = await client.frame()
            if opcode == 8:
                assert int.from_bytes(payload[:2], "big") == 1000
                break
            messages.append(json.loads(payload))
        kinds = [message["type"] for message in messages]
        assert kinds.count("final") == 1
        assert kinds[-1] == "done"
        assert kinds.count("partial") < live.value("steno_partial_wait_seconds_count")
        revisions = [message["revision"] for message in messages if message["type"] == "partial"]
        assert revisions == sorted(set(revisions))
        client.writer.transport.abort()
        await live.quiet()
        assert live.value("steno_partials_dropped_total") > 0


@in_loop
async def test_a_client_that_never_reads_is_closed_with_1013(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cramped(monkeypatch, send_timeout_s=0.2) as live, undisturbed(live):
        client = await RawClient.connect(live, receive_buffer_bytes=4096)
        await chatter(live, client)
        await until(lambda: live.value("steno_faults_total", code="slow_reader") == 1)
        assert await client.close_code() == 1013
        client.writer.transport.abort()
        await until(lambda: live.service.admission.sessions == 1)


@in_loop
async def test_a_client_that_never_reads_at_all_does_not_keep_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cramped(monkeypatch, send_timeout_s=0.2) as live:
        client = await RawClient.connect(live, receive_buffer_bytes=4096)
        await chatter(live, client)
        await until(lambda: not live.server.server_state.connections)
        await live.quiet()
        client.writer.transport.abort()


# Random order


@in_loop
async def test_random_messages_never_hurt_the_server() -> None:
    """Two hundred clients with up to eight messages each out of a bag of good and bad ones (seeded)."""
    rng = np.random.default_rng(7)
    bag: list[str | bytes] = [
        json.dumps({"type": "start", **PUSH_TO_TALK}),
        '{"type": "commit"}',
        '{"type": "clear"}',
        '{"type": "gap", "samples": 1600}',
        '{"type": "gap", "samples": -1}',
        '{"type": "stop"}',
        "{}",
        "null",
        b"",
        b"\0",
        pcm(tone(0.1, 0.3)),
        pcm(tone(0.2, 0.1)),
    ]

    async def one(choices: list[int]) -> None:
        async with live.connect() as client:
            try:
                for choice in choices:
                    await client.send(bag[choice])
            except ConnectionClosed:
                return
            if choices[-1] % 2:
                client.transport.abort()

    async with live_server() as live, undisturbed(live):
        for _ in range(25):
            sequences = [
                [0] * int(rng.integers(2)) + rng.integers(len(bag), size=rng.integers(1, 8)).tolist() for _ in range(8)
            ]
            await asyncio.gather(*(one(choices) for choices in sequences))
        await until(lambda: live.service.admission.sessions == 1)
        await until(lambda: len(live.recognizer.open_streams) == 1)
        assert live.value("steno_internal_errors_total") == 0
