"""A live run against a scripted server: both halves at once, and every way in which one of them ends first."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from steno.client.audio import AudioFileError
from steno.client.client import Client
from steno.client.connection import ServerError
from steno.client.events import Event
from steno.client.live import LiveRun, check_audio_path, check_save_path, save
from steno.client.microphone import MicrophoneBlock
from steno.streaming.protocol import Done, Error, ErrorCode, Final, Gap, Stop
from tests.client.fake_server import FakeServer, Peer, Script, ready

FINAL = Final(segment=0, text="one", start_ms=0, end_ms=500, seq=1)
DONE = Done(audio_ms=1000, segments=1, seq=2)


class Seen:
    """Captions that remember."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        self.events.append(event)

    def note(self, text: str) -> None:
        self.notes.append(text)


def block(value: float, *, dropped: int = 0, overflow: bool = False) -> MicrophoneBlock:
    return MicrophoneBlock(np.full(4, value, np.float32), dropped, overflow)


async def blocks(*given: MicrophoneBlock, fault: Exception | None = None) -> AsyncIterator[MicrophoneBlock]:
    for each in given:
        yield each
    if fault is not None:
        raise fault


async def endless() -> AsyncIterator[MicrophoneBlock]:
    while True:
        yield block(0.0)
        await asyncio.sleep(0.005)


def answers(heard: list[object]) -> Script:
    """Hear all until stop, then say one final."""

    async def script(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        heard.extend(await peer.hear_until(Stop))
        await peer.say(FINAL, DONE)
        await peer.close()

    return script


def run(
    script: Script, audio: AsyncIterator[MicrophoneBlock], *, stop_after_s: float | None = None
) -> tuple[LiveRun, Seen]:
    seen = Seen()

    async def live() -> LiveRun:
        async with asyncio.timeout(30), FakeServer(script) as server, Client(server.url, reconnects=0) as client:
            run = LiveRun(client, audio, seen)
            if stop_after_s is not None:
                asyncio.get_running_loop().call_later(stop_after_s, run.stop)
            await run.run()
            return run

    return asyncio.run(live()), seen


def test_audio_is_sent_and_events_are_shown_until_done() -> None:
    heard: list[object] = []
    live, seen = run(answers(heard), blocks(block(0.5), block(-0.5)))
    assert heard == [b"\x00\x40" * 4, b"\x00\xc0" * 4, Stop()]
    assert seen.events == [FINAL, DONE]
    assert live.finals == [FINAL]
    assert not live.stopped


def test_losses_become_gaps_and_notes() -> None:
    heard: list[object] = []
    _, seen = run(answers(heard), blocks(block(0.0, dropped=8000), block(0.0, overflow=True)))
    assert heard == [Gap(samples=8000), bytes(8), bytes(8), Stop()]
    assert len(seen.notes) == 2
    assert "0.5 s of audio were lost" in seen.notes[0]
    assert "too busy" in seen.notes[1]


def test_stopping_ends_the_audio_and_still_waits_for_the_last_words() -> None:
    heard: list[object] = []
    live, _ = run(answers(heard), endless(), stop_after_s=0.05)
    assert heard[-1] == Stop()
    assert len(heard) > 2
    assert live.finals == [FINAL]
    assert live.stopped


def test_audio_that_fails_is_told_after_the_words_that_came_before_it() -> None:
    heard: list[object] = []
    seen = Seen()

    async def live() -> None:
        async with FakeServer(answers(heard)) as server, Client(server.url) as client:
            await LiveRun(client, blocks(block(0.0), fault=AudioFileError("a.wav: damaged")), seen).run()

    with pytest.raises(AudioFileError, match="damaged"):
        asyncio.run(live())
    assert heard == [bytes(8), Stop()]
    assert FINAL in seen.events


def test_a_server_that_ends_the_session_ends_the_audio_too() -> None:
    async def refuses(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready(), FINAL, Error(code=ErrorCode.TOO_FAST, message="slow down"))
        await peer.close(1008)

    finals: list[Final] = []

    async def live() -> None:
        async with FakeServer(refuses) as server, Client(server.url) as client:
            live = LiveRun(client, endless(), Seen())
            live.finals = finals
            await live.run()

    with pytest.raises(ServerError, match="slow down"):
        asyncio.run(live())
    assert finals == [FINAL]


@pytest.mark.parametrize("ending", [".srt", ".vtt", ".txt", ".json", ".SRT"])
def test_finals_are_saved_as_the_name_says(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"talk{ending}"
    check_save_path(path)
    save(path, [FINAL])
    text = path.read_text()
    assert "one" in text
    assert text.startswith({".srt": "1\n", ".vtt": "WEBVTT", ".txt": "one", ".json": "{"}[ending.lower()])
    if ending == ".json":
        assert json.loads(text)["segments"][0]["end_ms"] == 500


def test_a_name_that_cannot_be_saved_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'talk\.docx': expected a name that ends in one of \.srt"):
        check_save_path(tmp_path / "talk.docx")
    with pytest.raises(ValueError, match="there is no folder"):
        check_save_path(tmp_path / "gone" / "talk.srt")


def test_a_file_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="gone"):
        check_audio_path(tmp_path / "gone.wav")
