"""`serve` as a process of its own, with a real (random, tiny) model: it comes up, recognises, and ends at SIGTERM."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect

from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions
from steno.streaming.server import serve
from tests.live import hear, hear_out, in_loop, pcm, say
from tests.tiny import tiny_checkpoint

PROGRAM = """
import sys
from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions
from steno.streaming.server import serve

sys.exit(serve(
    ServerOptions(port=0),
    SessionOptions(),
    EngineOptions(model=sys.argv[1], device="cpu", warm_up=False),
    on_listening=lambda port: print(port, flush=True),
))
"""


@asynccontextmanager
async def process(model: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The process and its address, once it listens."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM, str(model),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        port = (await child.stdout.readline()).decode().strip()
        assert port, (await child.stderr.read()).decode()
        yield child, f"ws://127.0.0.1:{port}/v1/stream"
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@in_loop
async def test_sigterm_lets_the_open_utterance_end_and_the_process_exits_cleanly(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = (rng.standard_normal(16_000) * 0.1).astype(np.float32)
    async with process(tiny_checkpoint(tmp_path)) as (child, url):
        async with connect(url, compression=None) as client:
            await say(client, "start", vad=False, language="English")
            ready = await hear(client, "ready")
            assert ready["model"] == str(tmp_path)
            assert "English" in ready["languages"]
            await client.send(pcm(np.clip(noise, -1, 1)))
            await hear(client, "partial")
            child.send_signal(signal.SIGTERM)
            heard = await hear_out(client)
            assert len(heard.of("final")) == 1
            assert (heard.error, heard.code) == ("restarting", 1012)
        assert await child.wait() == 0
        assert child.stderr is not None
        assert await child.stderr.read() == b""


def test_a_taken_port_is_told_before_the_model_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = ServerOptions(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="ddress already in use"):
            serve(options, SessionOptions(), EngineOptions(model="/no/such/model"))


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no-such-model"):
        serve(ServerOptions(port=0), SessionOptions(), EngineOptions(model="./no-such-model", device="cpu"))
