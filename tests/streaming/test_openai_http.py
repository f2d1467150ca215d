"""OpenAI's HTTP endpoints, driven by the real SDK and by raw requests, over a real socket and a fake recognizer."""

import asyncio
import io
import json
import threading
import wave
from collections.abc import Sequence
from typing import Any

import av
import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from steno.models.recognizer import StreamOptions
from steno.streaming.config import ServerOptions
from tests.audio_clips import recording
from tests.fakes import POISON, FakeStream
from tests.live import Live, hear, in_loop, live_server, pcm, say, until

KEY = "sk-test"


def wav(samples: NDArray[np.float32], rate: int = 16_000) -> bytes:
    """A WAV file of 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(pcm(samples))
    return file.getvalue()


def encoded(samples: NDArray[np.float32], codec: str, container: str) -> bytes:
    """The samples in another container, as PyAV writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=16_000)
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        fifo = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate, frame_size=stream.frame_size)
        for piece in [*fifo.resample(frame), *fifo.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def sdk(live: Live, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=live.http("/v1"), api_key=key, max_retries=0)


SPEECH = recording("coffee_order")


async def post(live: Live, content: bytes | None = None, **fields: Any) -> httpx.Response:
    files = {} if content is None else {"file": ("talk.wav", content)}
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.post(
            live.http("/v1/audio/transcriptions"), data=fields, files={**files, "empty": (None, "")}
        )


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    assert error["message"]
    assert error["type"] in ("invalid_request_error", "server_error")
    return answer.status_code, error["code"], error["param"]


# The SDK in every format


@in_loop
async def test_json_with_log_probabilities() -> None:
    async with live_server() as live, sdk(live) as api:
        heard = await api.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", wav(SPEECH)), include=["logprobs"], language="en", prompt="coffee"
        )
        words = heard.text.split()
        assert len(words) > 10
        assert all(word.startswith("w") for word in words)
        assert heard.languages is not None
        assert [each.code for each in heard.languages] == ["en"]
        assert heard.logprobs is not None
        assert "".join(each.token or "" for each in heard.logprobs) == heard.text
        assert all(bytes(map(int, each.bytes or [])).decode() == each.token for each in heard.logprobs)
        assert {each.logprob for each in heard.logprobs} == {-0.1}
        assert heard.usage is not None
        assert heard.usage.type == "duration"
        assert heard.usage.seconds == pytest.approx(len(SPEECH) / 16_000, abs=0.001)
        assert len(live.recognizer.steps) == 1, "a short file is one piece, heard in one step"
        await live.quiet()


@in_loop
async def test_every_other_format() -> None:
    async with live_server() as live, sdk(live) as api:
        create = api.audio.transcriptions.create
        content = ("a.wav", wav(SPEECH))
        text = await create(model="m", file=content, response_format="text")
        assert isinstance(text, str)
        assert text.startswith("w")
        verbose = await create(
            model="m", file=content, response_format="verbose_json", timestamp_granularities=["segment"]
        )
        assert verbose.language == "english"
        assert verbose.segments
        assert all(0 <= each.start < each.end <= verbose.duration for each in verbose.segments)
        assert " ".join(each.text for each in verbose.segments) == verbose.text
        assert verbose.segments[0].avg_logprob == pytest.approx(-0.1, abs=0.001)
        srt = await create(model="m", file=content, response_format="srt")
        assert srt.startswith("1\n00:00:0")
        assert " --> " in srt
        vtt = await create(model="m", file=content, response_format="vtt")
        assert vtt.startswith("WEBVTT\n\n00:00:0")
        assert verbose.segments[0].text in vtt


@in_loop
async def test_a_stream_of_events() -> None:
    async with live_server() as live, sdk(live) as api:
        pause = np.zeros(32_000, np.float32)
        stream = await api.audio.transcriptions.create(
            model="m",
            file=("a.wav", wav(np.concatenate((SPEECH, pause, SPEECH)))),
            response_format="json",
            stream=True,
            chunking_strategy={"type": "server_vad", "silence_duration_ms": 700, "threshold": 0.6},
            include=["logprobs"],
        )
        events = [event async for event in stream]
        deltas = [event for event in events if event.type == "transcript.text.delta"]
        (done,) = [event for event in events if event.type == "transcript.text.done"]
        assert len(deltas) >= 2
        assert "".join(event.delta for event in deltas) == done.text
        assert "".join(each.token or "" for event in deltas for each in event.logprobs or []) == done.text
        await live.quiet()


@pytest.mark.parametrize(
    ("codec", "container"),
    [("libmp3lame", "mp3"), ("flac", "flac"), ("libopus", "webm"), ("aac", "mp4"), ("libopus", "ogg")],
)
@in_loop
async def test_containers(codec: str, container: str) -> None:
    async with live_server() as live, sdk(live) as api:
        content = encoded(SPEECH[:48_000], codec, container)
        heard = await api.audio.transcriptions.create(model="m", file=(f"a.{container}", content))
        assert len(heard.text.split()) > 10


@in_loop
async def test_models() -> None:
    async with live_server() as live, sdk(live) as api:
        listed = await api.models.list()
        assert [each.id for each in listed.data] == ["fake"]
        assert (await api.models.retrieve("fake")).object == "model"
        with pytest.raises(openai.NotFoundError) as caught:
            await api.models.retrieve("gpt/9")
        assert caught.value.code == "model_not_found"


# What the model gets


@in_loop
async def test_language_and_context_reach_the_model() -> None:
    options: list[StreamOptions] = []

    def watch(streams: Sequence[FakeStream]) -> None:
        options.extend(stream.options for stream in streams)

    async with live_server(before_step=watch) as live:
        answer = await post(
            live, wav(SPEECH), **{"language": "de", "prompt": "orders", "keywords[]": ["latte", "mocha"]}
        )
        assert answer.status_code == 200
        assert options[0].language == "German"
        assert options[0].context == "orders\nlatte, mocha"


@in_loop
async def test_a_quiet_recording_is_heard() -> None:
    async with live_server() as live:
        assert (await post(live, wav(SPEECH * np.float32(0.05)))).json()["text"]


@in_loop
async def test_silence_is_silent() -> None:
    async with live_server() as live:
        for fields in ({}, {"chunking_strategy": "auto"}):
            answer = await post(live, wav(np.zeros(48_000, np.float32)), **fields)
            assert answer.json()["text"] == ""
        assert not live.recognizer.steps


@in_loop
async def test_a_long_file_yields_to_a_live_session() -> None:
    """The file's segments wait in the engine; a live final that comes later goes before them."""
    gate, inside = threading.Event(), threading.Event()
    order: list[float] = []

    def hold(streams: Sequence[FakeStream]) -> None:
        inside.set()
        assert gate.wait(30)
        order.extend(float(stream.audio[0].max()) for stream in streams)

    talk = np.concatenate([np.concatenate((SPEECH[:48_000], np.zeros(24_000, np.float32)))] * 4)
    async with live_server(before_step=hold) as live, live.connect() as client:
        upload = asyncio.create_task(post(live, wav(talk), response_format="verbose_json"))
        await until(inside.is_set)
        await until(lambda: live.value("steno_inbox") >= 6)  # more segments wait behind the first
        await say(client, "start", vad=False, interval_ms=10_000)
        await client.send(pcm(np.full(8000, 0.9, np.float32)))
        await say(client, "commit")
        await hear(client, "speech_end")
        gate.set()
        assert (await hear(client, "final"))["text"].startswith("w900")
        answer = await upload
        assert len(answer.json()["segments"]) >= 3
        assert order[1] == pytest.approx(0.9, abs=0.001), "only the step that had begun goes before it"


# Refusals, one for each code


BAD_FIELDS: tuple[tuple[dict[str, str], tuple[int, str, str | None]], ...] = (
    ({"response_format": "yaml"}, (400, "invalid_value", "response_format")),
    ({"response_format": "diarized_json"}, (400, "unsupported_value", "response_format")),
    ({"language": "Klingon"}, (400, "invalid_language_format", "language")),
    ({"temperature": "hot"}, (400, "invalid_value", "temperature")),
    ({"temperature": "2"}, (400, "invalid_value", "temperature")),
    ({"stream": "perhaps"}, (400, "invalid_value", "stream")),
    ({"stream": "true", "response_format": "srt"}, (400, "invalid_value", "response_format")),
    ({"timestamp_granularities[]": "word"}, (400, "invalid_value", "timestamp_granularities")),
    (
        {"timestamp_granularities[]": "verse", "response_format": "verbose_json"},
        (400, "invalid_value", "timestamp_granularities"),
    ),
    (
        {"timestamp_granularities[]": "word", "response_format": "verbose_json"},
        (400, "unsupported_value", "timestamp_granularities"),
    ),
    ({"include[]": "feelings"}, (400, "invalid_value", "include")),
    ({"include[]": "logprobs", "response_format": "text"}, (400, "invalid_value", "include")),
    ({"chunking_strategy": "{]"}, (400, "invalid_value", "chunking_strategy")),
    ({"chunking_strategy": '{"type":"x"}'}, (400, "invalid_value", "chunking_strategy.type")),
    (
        {"chunking_strategy": '{"type":"server_vad","threshold":7}'},
        (400, "invalid_value", "chunking_strategy"),
    ),
    ({"prompt": "x" * 5000}, (400, "invalid_value", None)),
    ({"prompt": "x" * 100_000}, (400, "invalid_form", None)),
)


@in_loop
async def test_bad_fields() -> None:
    async with live_server() as live:
        content = wav(SPEECH)
        for fields, expected in BAD_FIELDS:
            assert error_of(await post(live, content, **fields)) == expected, fields
        await live.quiet()


@in_loop
async def test_bad_files() -> None:
    options = ServerOptions(resume_ttl_s=0, max_upload_mb=1, max_upload_s=20)
    async with live_server(server=options) as live:
        unreadable = (400, "invalid_value", "file")
        assert error_of(await post(live)) == (400, "missing_required_parameter", "file")
        assert error_of(await post(live, b"")) == unreadable
        assert error_of(await post(live, b"RIFF????WAVEjunk" * 50)) == unreadable
        assert error_of(await post(live, b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n")) == unreadable
        assert error_of(await post(live, b"ffconcat version 1.0\nfile 'a.wav'\n")) == unreadable
        assert error_of(await post(live, wav(SPEECH[:800]))) == (400, "audio_too_short", "file")
        long = encoded(np.tile(SPEECH, 1 + 25 * 16_000 // len(SPEECH)), "libopus", "ogg")
        assert error_of(await post(live, long)) == (400, "audio_too_long", "file")
        assert error_of(await post(live, bytes(2 << 20))) == (413, "file_too_large", "file")
        await live.quiet()


@in_loop
async def test_other_bodies() -> None:
    async with live_server() as live, httpx.AsyncClient() as client:
        url = live.http("/v1/audio/transcriptions")
        assert error_of(await client.post(url, json={"file": "x"})) == (415, "unsupported_content_type", None)
        broken = await client.post(url, content=b"--x\r\nno", headers={"Content-Type": "multipart/form-data"})
        assert error_of(broken) == (400, "invalid_form", None)


@in_loop
async def test_keys_and_origins() -> None:
    options = ServerOptions(resume_ttl_s=0, api_key=(KEY, "second"), allow_origin=("https://app.example",))
    async with live_server(server=options) as live, sdk(live) as api:
        assert (await api.models.list()).data
        with pytest.raises(openai.AuthenticationError) as caught:
            await api.with_options(api_key="wrong").audio.transcriptions.create(model="m", file=("a.wav", wav(SPEECH)))
        assert caught.value.code == "invalid_api_key"
        async with httpx.AsyncClient() as client:
            url = live.http("/v1/models")
            assert (await client.get(url)).status_code == 401
            assert (await client.get(url, headers={"api-key": "second"})).status_code == 200
            key = {"Authorization": f"Bearer {KEY}"}
            foreign = await client.get(url, headers={**key, "Origin": "https://evil.example"})
            assert error_of(foreign) == (403, "origin_not_allowed", None)
            ours = await client.get(url, headers={**key, "Origin": "https://app.example"})
            assert ours.headers["access-control-allow-origin"] == "https://app.example"
            assert (await client.get(live.http("/healthz"))).status_code == 200


@in_loop
async def test_a_full_server_asks_to_come_again() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, max_sessions=1)) as live, live.connect() as client:
        await say(client, "start")
        await hear(client, "ready")
        answer = await post(live, wav(SPEECH))
        assert error_of(answer) == (503, "server_overloaded", None)
        assert answer.headers["retry-after"]


@in_loop
async def test_what_the_model_cannot_do_is_a_server_error() -> None:
    async with live_server() as live:
        poison = SPEECH.copy()
        poison[24_000] = POISON * 32768 / 32767  # exact after the way through 16 bits
        assert error_of(await post(live, wav(poison))) == (500, "internal_error", None)
        streamed = await post(live, wav(poison), stream="true")
        assert streamed.status_code == 500
        late = np.concatenate((SPEECH, np.zeros(32_000, np.float32), poison))
        told = await post(live, wav(late), stream="true", chunking_strategy="auto")
        last = json.loads(told.text.strip().splitlines()[-1].removeprefix("data: "))
        assert last["type"] == "error"
        assert last["error"]["code"] == "internal_error"
        assert (await post(live, wav(SPEECH))).json()["text"]
        await live.quiet()


@in_loop
async def test_a_client_that_leaves_takes_its_work_along() -> None:
    gate = threading.Event()

    def hold(streams: Sequence[FakeStream]) -> None:
        assert gate.wait(30)

    async with live_server(before_step=hold) as live:
        upload = asyncio.create_task(post(live, wav(SPEECH)))
        await until(lambda: bool(live.recognizer.open_streams))
        upload.cancel()
        await until(lambda: live.service.admission.sessions == 0)
        gate.set()
        await live.quiet()


@in_loop
async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, idle_timeout_s=0.1)) as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
        writer.write(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        assert b" 408 " in await reader.readline()
        writer.close()
        await live.quiet()
