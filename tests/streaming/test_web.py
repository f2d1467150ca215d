"""The captions page in a real browser against a real server: what a person would see, hear of it, and press.

The recognizer is the fake one, whose text is a function of the samples, so that "nothing was lost" can be told from the
captions; the last test uses the bundled model and reads real words.
"""

import asyncio
import wave
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steno.client.audio import read_audio, to_pcm16
from steno.client.client import Client
from steno.client.subtitles import to_srt
from steno.streaming.config import ServerOptions
from steno.streaming.decoded_audio import Samples
from steno.streaming.protocol import Final
from tests.browser import BINARY, Page, browser
from tests.live import Live, live_server
from tests.steno_process import SAMPLES, serve

pytestmark = pytest.mark.skipif(BINARY is None, reason="there is no Chromium here (Debian: apt install chromium)")

PATIENCE_S = 240.0
STATE = "document.querySelector('#state').dataset.kind"


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(tmp_path: Path) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await test(tmp_path)

        asyncio.run(bounded())

    return run


def recording(path: Path) -> tuple[Path, Samples]:
    """A real clip between silences, as a WAV file at 16 kHz."""
    pause = np.zeros(16_000, np.float32)
    pcm = to_pcm16(np.concatenate([pause, read_audio(SAMPLES / "07-pv-intent.opus"), pause]))
    write_wav(path, pcm)
    return path, np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def write_wav(path: Path, pcm: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm)


async def finals_of(live: Live, samples: Samples) -> list[Final]:
    """What the Python client gets for the same samples, sent at once."""
    async with Client(live.url()) as client:
        await client.send(samples)
        await client.finish()
        return [event async for event in client if isinstance(event, Final) and event.text]


async def click(page: Page, name: str) -> None:
    await page.evaluate(f"document.querySelector('#{name}').click()")


async def choose_file(page: Page, path: Path) -> None:
    await page.evaluate(
        "document.querySelector('#source').value = 'file';"
        "document.querySelector('#source').dispatchEvent(new Event('change'))"
    )
    document = await page.call("DOM.getDocument")
    found = await page.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#file")
    await page.call("DOM.setFileInputFiles", nodeId=found["nodeId"], files=[str(path)])


@in_loop
async def test_the_microphone_becomes_captions_first_tentative_then_final(tmp_path: Path) -> None:
    microphone, _ = recording(tmp_path / "microphone.wav")
    async with live_server() as live, browser(microphone=microphone) as page:
        await page.open(live.http("/"))
        await page.wait_for(f"{STATE} === 'ready'")
        assert await page.evaluate("[...document.querySelector('#language').options].map(o => o.value)") == [
            "",
            *live.recognizer.languages,
        ]
        await click(page, "start")
        await page.wait_for("document.querySelector('#live .tentative')?.textContent")
        await page.wait_for("document.querySelector('#live .committed')?.textContent")
        final = await page.wait_for("document.querySelector('#finals .final')?.textContent")
        assert len(final.split()) > 10
        assert set(final) <= set("w0123456789 ")
        await click(page, "start")
        await page.wait_for(f"{STATE} === 'done'")
        assert await page.evaluate("document.querySelector('#live').textContent") == ""
        await live.quiet()
        assert page.faults == []


@in_loop
async def test_a_file_gives_the_captions_and_subtitles_of_the_python_client(tmp_path: Path) -> None:
    """Not a sample is lost or changed on the way through decoder, audio thread and socket."""
    path, samples = recording(tmp_path / "talk.wav")
    async with live_server() as live, browser() as page:
        expected = await finals_of(live, samples)
        await page.open(live.http("/"))
        await choose_file(page, path)
        await click(page, "start")
        await page.wait_for(f"{STATE} === 'done'")
        shown = await page.evaluate("[...document.querySelectorAll('#finals .final')].map(p => p.textContent)")
        assert shown == [final.text for final in expected]
        srt = await page.evaluate(
            "import('./srt.js').then(m => m.toSrt("
            + "[{text: 'One two.', start_ms: 0, end_ms: 1500}, {text: 'Drei', start_ms: 3725042, end_ms: 3727000}]))"
        )
        assert srt == to_srt(
            [
                Final(segment=0, text="One two.", start_ms=0, end_ms=1500),
                Final(segment=1, text="Drei", start_ms=3_725_042, end_ms=3_727_000),
            ]
        )
        assert page.faults == []


async def captions_with_a_cut(path: Path, samples: Samples, *, resume_ttl_s: int) -> tuple[list[str], list[str]]:
    """What the page shows when its connection is cut within the first utterance, and what it should show."""
    async with live_server(server=ServerOptions(resume_ttl_s=resume_ttl_s)) as live, browser() as page:
        expected = [final.text for final in await finals_of(live, samples)]
        await page.open(live.http("/"))
        await choose_file(page, path)
        await click(page, "start")
        await page.wait_for("document.querySelector('#live .committed')?.textContent")
        for connection in list(live.server.server_state.connections):
            connection.transport.abort()
        await page.wait_for(f"{STATE} === 'wait'")
        await page.wait_for(f"{STATE} === 'live'")
        await page.wait_for(f"{STATE} === 'done'")
        shown = await page.evaluate("[...document.querySelectorAll('#finals .final')].map(p => p.textContent)")
        return shown, expected


@in_loop
async def test_a_broken_connection_is_resumed_without_losing_a_word(tmp_path: Path) -> None:
    shown, expected = await captions_with_a_cut(*recording(tmp_path / "talk.wav"), resume_ttl_s=60)
    assert shown == expected


@in_loop
async def test_where_the_session_is_lost_a_new_one_hears_the_utterance_again(tmp_path: Path) -> None:
    shown, expected = await captions_with_a_cut(*recording(tmp_path / "talk.wav"), resume_ttl_s=0)
    assert shown == expected


@in_loop
async def test_a_page_without_https_says_why_there_is_no_microphone(tmp_path: Path) -> None:
    async with live_server() as live, browser(flags=("--host-resolver-rules=MAP captions.test 127.0.0.1",)) as page:
        await page.open(f"http://captions.test:{live.port}/")
        await page.wait_for(f"{STATE} === 'ready'")
        await click(page, "start")
        told = await page.wait_for("document.querySelector('#trouble').textContent")
        assert "https://" in told
        assert "localhost" in told
        assert await page.evaluate("document.querySelector('#start').textContent") == "Start"


@in_loop
async def test_a_server_with_keys_asks_for_one(tmp_path: Path) -> None:
    async with live_server(server=ServerOptions(api_key=("s3cret key/",))) as live, browser() as page:
        await page.open(live.http("/"))
        await page.wait_for(f"{STATE} === 'bad'")
        assert not await page.evaluate("document.querySelector('#key').hidden")
        await page.evaluate(
            "document.querySelector('#key').value = 's3cret key/';"
            "document.querySelector('#key').dispatchEvent(new Event('change'))"
        )
        await page.wait_for(f"{STATE} === 'ready'")


@in_loop
async def test_the_overlay_shows_captions_alone_on_nothing(tmp_path: Path) -> None:
    microphone, _ = recording(tmp_path / "microphone.wav")
    async with live_server() as live, browser(microphone=microphone) as page:
        await page.open(live.http("/?overlay&transparent&lines=1&size=60"))
        await page.wait_for("document.querySelector('#finals .final')?.textContent")
        visible = "e => e.getClientRects().length > 0"
        assert (
            await page.evaluate(f"['header', 'footer', '#hint'].map(s => document.querySelector(s)).some({visible})")
            is False
        )
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert await page.evaluate("getComputedStyle(document.querySelector('#page')).fontSize") == "60px"


@in_loop
async def test_every_control_has_a_name_and_captions_are_announced_politely(tmp_path: Path) -> None:
    async with live_server() as live, browser() as page:
        await page.open(live.http("/"))
        tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
        controls = [
            node
            for node in tree
            if node.get("role", {}).get("value") in ("button", "combobox", "textbox", "checkbox")
            and not node.get("ignored")
        ]
        assert len(controls) >= 9
        assert all(node["name"].get("value") for node in controls)
        assert await page.evaluate("document.querySelector('#finals').ariaLive") == "polite"
        assert await page.evaluate("document.querySelector('#finals').getAttribute('role')") == "log"


@in_loop
async def test_looks_are_kept_between_visits(tmp_path: Path) -> None:
    async with live_server() as live, browser() as page:
        await page.open(live.http("/"))
        before = await page.evaluate("document.documentElement.dataset.theme")
        await click(page, "theme")
        await click(page, "larger")
        await page.open(live.http("/"))
        assert await page.evaluate("document.documentElement.dataset.theme") != before
        assert await page.evaluate("getComputedStyle(document.querySelector('#page')).fontSize") == "46px"


@in_loop
async def test_the_bundled_model_is_read_off_the_page(tmp_path: Path) -> None:
    """The whole product: a voice into the browser's microphone, words of the bundled model on its screen."""
    microphone = tmp_path / "microphone.wav"
    pause = np.zeros(16_000, np.float32)
    write_wav(microphone, to_pcm16(np.concatenate([pause, read_audio(SAMPLES / "09-pv-wake.opus"), pause])))
    with serve() as address:
        async with browser(microphone=microphone) as page:
            await page.open(f"http://{address}/")
            await page.wait_for(f"{STATE} === 'ready'")
            assert "tiny" in await page.evaluate("document.querySelector('#state').textContent")
            await click(page, "start")
            await page.wait_for("document.querySelector('#live').textContent")
            assert await page.wait_for("document.querySelector('#finals .final')?.textContent") == "computer"
            await click(page, "start")
            await page.wait_for(f"{STATE} === 'done'")
            assert page.faults == []
