"""The clients that people have, against `steno serve` with the bundled model: OpenAI's SDK and Wyoming's client read
real words back.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from wyoming.asr import Transcript
from wyoming.client import AsyncUnixClient

from steno.client.audio import read_audio, to_pcm16
from tests.live import in_loop
from tests.steno_process import SAMPLES, serve

from .test_wyoming import transcribe

KEY = "sk-bundled"
CLIPS = ("00-fsdd-strings", "01-fsdd-strings", "08-pv-wake", "09-pv-wake")
TEXTS: dict[str, str] = {
    sample["file"].removesuffix(".opus"): sample["text"]
    for sample in map(json.loads, (SAMPLES / "samples.jsonl").read_text().splitlines())
}
DIGITS = "00-fsdd-strings"
WELL_HEARD = 0.5
"""Share of the spoken words that must come back: the model is tiny, but what it hears must be what was said."""


class Served:
    """The running server, its addresses."""

    def __init__(self, address: str, wyoming: Path) -> None:
        self.base_url = f"http://{address}/v1"
        self.wyoming = wyoming

    def sdk(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("wyoming") / "socket"
    with serve("--api-key", KEY, "--wyoming-socket", str(path)) as address:
        yield Served(address, path)


def samples_of(clip: str) -> NDArray[np.float32]:
    """The clip between half a second and a second and a half of near silence."""
    hiss = np.random.default_rng(0).normal(0, 1e-4, 24_000).astype(np.float32)
    return np.concatenate((hiss[:8000], read_audio(SAMPLES / f"{clip}.opus"), hiss))


def check_words(heard: dict[str, str]) -> None:
    """Raises AssertionError, with what was heard, where too few of the spoken words are in it."""
    spoken = [(clip, word) for clip in heard for word in TEXTS[clip].split()]
    found = [(clip, word) for clip, word in spoken if word in heard[clip].split()]
    assert len(found) / len(spoken) >= WELL_HEARD, heard


@in_loop
async def test_http_reads_words_back(served: Served) -> None:
    async with served.sdk() as api:
        heard = {}
        for clip in CLIPS:
            with (SAMPLES / f"{clip}.opus").open("rb") as file:
                answer = await api.audio.transcriptions.create(
                    model="tiny", file=file, language="en", include=["logprobs"]
                )
            heard[clip] = answer.text
            assert answer.logprobs is not None
            assert "".join(each.token or "" for each in answer.logprobs) == answer.text
            assert all(each.logprob is not None and each.logprob <= 0 for each in answer.logprobs)
        check_words(heard)
        assert [each.id for each in (await api.models.list()).data] == ["tiny"]


@in_loop
async def test_every_http_format_has_the_words(served: Served) -> None:
    async with served.sdk() as api:
        file = SAMPLES / f"{DIGITS}.opus"
        create = api.audio.transcriptions.create
        verbose = await create(model="tiny", file=file, language="en", response_format="verbose_json")
        check_words({DIGITS: verbose.text})
        assert verbose.language == "english"
        assert verbose.segments
        assert verbose.segments[-1].end <= verbose.duration == pytest.approx(2.98, abs=0.05)
        text = await create(model="tiny", file=file, language="en", response_format="text")
        check_words({DIGITS: str(text)})
        for format_ in ("srt", "vtt"):
            subtitles = await create(model="tiny", file=file, language="en", response_format=format_)
            assert verbose.segments[0].text in str(subtitles)
        events = [event async for event in await create(model="tiny", file=file, language="en", stream=True)]
        assert events[-1].type == "transcript.text.done"
        check_words({DIGITS: events[-1].text})


@pytest.mark.parametrize(
    "detection",
    [{"type": "server_vad", "silence_duration_ms": 900}, {"type": "semantic_vad", "eagerness": "auto"}, None],
    ids=["server_vad", "semantic_vad", "client"],
)
@in_loop
async def test_realtime_reads_words_back(served: Served, detection: dict[str, Any] | None) -> None:
    heard = {}
    config: Any = {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 16_000},
                "turn_detection": detection,
                "transcription": {"model": "tiny", "language": "en"},
            }
        },
    }
    async with (
        served.sdk() as api,
        api.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        await connection.session.update(session=config)
        for clip in CLIPS:
            pcm = to_pcm16(samples_of(clip))
            for start in range(0, len(pcm), 6400):
                await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[start : start + 6400]).decode())
            if detection is None:
                await connection.input_audio_buffer.commit()
            deltas = ""
            while True:
                event = await connection.recv()
                assert event.type != "error", event
                if event.type == "conversation.item.input_audio_transcription.delta":
                    deltas += event.delta or ""
                if event.type == "conversation.item.input_audio_transcription.completed":
                    break
            heard[clip] = event.transcript
            assert event.transcript
            assert deltas
    check_words(heard)


@in_loop
async def test_wyoming_reads_words_back(served: Served) -> None:
    heard = {}
    async with AsyncUnixClient(str(served.wyoming)) as client:
        for clip in CLIPS:
            transcript = Transcript.from_event((await transcribe(client, samples_of(clip)))[-2])
            heard[clip] = transcript.text
            assert transcript.language == "en"
    check_words(heard)
