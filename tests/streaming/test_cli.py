"""The `steno` command: help, output, exit statuses, environment, and what it must not need."""

import asyncio
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from steno.streaming import cli
from steno.streaming.config import ServerOptions
from steno.streaming.protocol import Done, Final, Partial, Start, Stop
from tests.client.fake_server import FakeServer, Peer, Script, ready
from tests.steno_process import SAMPLES, serve
from tests.steno_process import steno as run_steno

FINAL = Final(segment=0, text="Hello there.", start_ms=0, end_ms=400, seq=1)
DONE = Done(audio_ms=500, segments=1, seq=2)


@contextmanager
def serving(*scripts: Script) -> Iterator[str]:
    """A scripted server on a thread of its own; the command under test has the main thread, as in life."""
    started = threading.Event()
    addresses: list[str] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        over = asyncio.Event()
        async with FakeServer(*scripts) as server:
            addresses.append(server.url)
            stop.append((asyncio.get_running_loop(), over))
            started.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(10)
    try:
        yield addresses[0]
    finally:
        loop, over = stop[0]
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


def answers(starts: list[Start] | None = None) -> Script:
    async def script(peer: Peer) -> None:
        start = await peer.hear_start()
        if starts is not None:
            starts.append(start)
        await peer.say(ready())
        await peer.hear_until(Stop)
        await peer.say(
            Partial(segment=0, revision=1, committed="Hello", tentative=" their", start_ms=0, end_ms=300), FINAL, DONE
        )

    return script


def steno(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli.app, [str(each) for each in arguments], env=env, terminal_width=160)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 4_800))
    return path


@pytest.mark.parametrize("command", sorted(cli.EXAMPLES))
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = steno(command, "--help")
    assert result.exit_code == 0
    assert f"Example:  {cli.EXAMPLES[command]}" in result.output


def test_the_examples_cover_all_commands() -> None:
    names = {each.name or each.callback.__name__ for each in cli.app.registered_commands if each.callback}
    assert names == set(cli.EXAMPLES)


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"steno": "1.2.3"}.__getitem__)
    assert steno("--version").output == "steno 1.2.3\n"


def test_stream_prints_finals_and_saves_subtitles(recording: Path, tmp_path: Path) -> None:
    with serving(answers()) as url:
        result = steno("stream", recording, "--url", url, "--save", tmp_path / "talk.srt", "--speed", "50")
    assert (result.exit_code, result.stdout) == (0, "Hello there.\n")
    assert (tmp_path / "talk.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:01,000\nHello there.\n")


def test_stream_shows_partials_in_a_pipe_where_asked(recording: Path) -> None:
    with serving(answers()) as url:
        result = steno("stream", recording, "--url", url, "--partials", "--speed", "50")
    assert result.stdout == "~ Hello| their\nHello there.\n"


def test_flags_and_environment_reach_the_server(recording: Path) -> None:
    starts: list[Start] = []
    with serving(answers(starts)) as url:
        result = steno(
            *("stream", recording, "--speed", "50", "--language", "German", "--languages", "German"),
            env={"STENO_URL": url, "STENO_INTERVAL_MS": "300", "STENO_CONTEXT": "Ada, Grace"},
        )
    assert result.exit_code == 0
    assert starts == [Start(language="German", languages=("German",), interval_ms=300, context="Ada, Grace")]


def test_nobody_listening_is_one_line_and_status_1(recording: Path) -> None:
    result = steno("stream", recording, "--url", "127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("steno: cannot reach ws://127.0.0.1:1/v1/stream")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("stream", "gone.wav"), "gone.wav: cannot be read as audio: No such file"),
        (("stream", "{recording}", "--save", "talk.docx"), "expected a name that ends in one of"),
        (("stream", "{recording}", "--url", "ftp://host"), "'ftp://host' is no address of a server"),
    ],
)
def test_what_cannot_work_is_told_before_a_server_is_asked(
    recording: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = steno(*(each.format(recording=recording) for each in arguments))
    assert result.exit_code == 1
    assert told in result.stderr


def test_a_value_out_of_bounds_is_wrong_usage(recording: Path) -> None:
    assert steno("stream", recording, "--interval-ms", "1").exit_code == 2
    assert steno("--log-level", "loud", "devices").exit_code == 2


def test_finals_are_saved_even_when_the_connection_is_lost(recording: Path, tmp_path: Path) -> None:
    async def breaks(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready(), FINAL)
        await peer.say_raw("this is not the protocol")

    with serving(breaks) as url:
        result = steno("stream", recording, "--url", url, "--save", tmp_path / "talk.txt")
    assert result.exit_code == 1
    assert "not this protocol" in result.stderr
    assert (tmp_path / "talk.txt").read_text() == "Hello there.\n"


class FakeMicrophone:
    """A sounddevice module whose stream delivers a block as soon as it is started."""

    PortAudioError = RuntimeError

    def query_devices(self) -> list[dict[str, object]]:
        return [{"name": "Headset", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 48_000.0}]

    def query_hostapis(self) -> list[dict[str, object]]:
        return [{"name": "ALSA", "default_input_device": 0}]

    def check_input_settings(self, **settings: object) -> None: ...

    def InputStream(self, **settings: object) -> SimpleNamespace:
        def start() -> None:
            callback = settings["callback"]
            assert callable(callback)
            callback(np.zeros((640, 1), np.float32), 640, None, SimpleNamespace(input_overflow=False))

        return SimpleNamespace(start=start, close=lambda: None)


def test_devices_lists_the_microphones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeMicrophone())
    result = steno("devices")
    assert (result.exit_code, result.stdout) == (0, "*   0  Headset  (ALSA, 1 channels, 48000 Hz)\n")


def test_without_an_audio_system_mic_and_devices_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    for command in ("mic", "devices"):
        result = steno(command)
        assert result.exit_code == 1
        assert "sounddevice is missing" in result.stderr


def test_ctrl_c_ends_the_microphone_and_waits_for_the_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeMicrophone())

    async def interrupts(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.hear_samples(640)
        os.kill(os.getpid(), signal.SIGINT)
        assert await peer.hear_until(Stop)
        await peer.say(FINAL, DONE)

    with serving(interrupts) as url:
        result = steno("mic", "--url", url)
    assert (result.exit_code, result.stdout) == (0, "Hello there.\n")


def test_ctrl_c_in_a_file_keeps_what_was_said_and_exits_130(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16_000 * 60))

    async def interrupts(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.hear_samples(640)
        os.kill(os.getpid(), signal.SIGINT)
        await peer.hear_until(Stop)
        await peer.say(FINAL, DONE)

    with serving(interrupts) as url:
        result = steno("stream", path, "--url", url)
    assert (result.exit_code, result.stdout) == (130, "Hello there.\n")


WITHOUT = """
import sys
for name in ("torch", "starlette", "uvicorn", "transformers", "webrtcvad", "prometheus_client", "wyoming"):
    sys.modules[name] = None
from steno.streaming.cli import main
sys.argv = ["steno", *sys.argv[1:]]
main()
"""


def bare_steno(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process where the server's packages are not installed."""
    command = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_the_client_needs_no_server_packages(recording: Path) -> None:
    with serving(answers()) as url:
        done = bare_steno("stream", recording, "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello there.\n", "")


@pytest.mark.parametrize("arguments", [("serve",), ("transcribe", "a.wav")])
def test_without_its_packages_the_server_says_what_to_install(arguments: tuple[str, ...]) -> None:
    done = bare_steno(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("steno: this command needs the server's packages: pip install 'steno[server]'")
    assert done.stderr.count("\n") == 1


def test_serve_says_where_to_look_and_what_to_try() -> None:
    said = cli.announcement(ServerOptions(), "tiny", 8765)
    assert "http://localhost:8765/" in said
    assert "steno mic\n" in said
    moved = cli.announcement(ServerOptions(host="10.0.0.1", tls_cert="c.pem", tls_key="k.pem"), "tiny", 9000)
    assert "https://10.0.0.1:9000/" in moved
    assert "steno mic --url wss://10.0.0.1:9000\n" in moved


def test_the_bundled_model_hears_a_real_recording_live_and_offline(tmp_path: Path) -> None:
    """Processes as people run them: `serve` and `stream` at real-time speed, `transcribe` beside them."""
    clip = SAMPLES / "09-pv-wake.opus"
    saved = tmp_path / "talk.json"
    with serve() as address:
        done = run_steno("stream", clip, "--url", address, "--partials", "--save", saved)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "computer"
    assert lines[0].startswith("~ "), "a partial comes before the final"
    (segment,) = (each for each in json.loads(saved.read_text())["segments"] if each["text"])
    assert (segment["text"], segment["language"]) == ("computer", "English")
    offline = run_steno("transcribe", clip)
    assert (offline.returncode, offline.stdout) == (0, "computer\n")
