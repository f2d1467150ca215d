"""`/v1/realtime` over the real socket, driven by OpenAI's SDK and by hand, around a fake recognizer that hears levels.

What the events say, case by case, is tested without a socket in `test_openai_turns`.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soxr
from numpy.typing import NDArray
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from steno.streaming.config import ServerOptions, SessionOptions
from steno.streaming.ephemeral_keys import EphemeralKeys
from tests.audio_clips import recording
from tests.fakes import FakeStream
from tests.live import Live, in_loop, live_server, until

KEY = "sk-test"
SPEECH = recording("coffee_order")
PAUSE = np.zeros(24_000, np.float32)
TRANSCRIPTION = "conversation.item.input_audio_transcription"
PATH = "/v1/realtime?intent=transcription"


def sdk(live: Live, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=live.http("/v1"), api_key=key, max_retries=0)


def base64_pcm(samples: NDArray[np.float32], rate: int = 24_000) -> str:
    heard = soxr.resample(samples, 16_000, rate) if rate != 16_000 else samples
    return base64.b64encode((np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes()).decode()


def session(**audio_input: Any) -> Any:
    return {"type": "transcription", "audio": {"input": audio_input}}


async def talk(connection: AsyncRealtimeConnection, samples: NDArray[np.float32]) -> None:
    for start in range(0, len(samples), 3200):
        await connection.input_audio_buffer.append(audio=base64_pcm(samples[start : start + 3200]))


async def events_until(connection: AsyncRealtimeConnection, kind: str, count: int = 1) -> list[Any]:
    """Everything up to the event of this type that is the `count`th."""
    heard = []
    while True:
        event = await connection.recv()
        heard.append(event)
        assert event.type != "error", event
        count -= event.type == kind
        if not count:
            return heard


def deltas_of(heard: list[Any], item_id: str) -> str:
    return "".join(e.delta for e in heard if e.type == f"{TRANSCRIPTION}.delta" and e.item_id == item_id)


# The SDK in the three turn modes


@pytest.mark.parametrize(
    "detection",
    [{"type": "server_vad", "silence_duration_ms": 700}, {"type": "semantic_vad", "eagerness": "high"}],
    ids=["server_vad", "semantic_vad"],
)
@in_loop
async def test_turns_by_the_server(detection: dict[str, Any]) -> None:
    async with live_server() as live, sdk(live) as api:
        async with api.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            created = await connection.recv()
            assert created.type == "session.created"
            config = session(turn_detection=detection, transcription={"model": "x", "language": "en"})
            config["include"] = ["item.input_audio_transcription.logprobs"]
            await connection.session.update(session=config)
            updated = await connection.recv()
            assert updated.type == "session.updated"
            await talk(connection, np.concatenate((SPEECH, PAUSE, SPEECH, PAUSE)))
            heard = await events_until(connection, f"{TRANSCRIPTION}.completed", 2)
            completed = [event for event in heard if event.type == f"{TRANSCRIPTION}.completed"]
            started = [event for event in heard if event.type == "input_audio_buffer.speech_started"]
            committed = [event for event in heard if event.type == "input_audio_buffer.committed"]
            assert [event.item_id for event in completed] == [event.item_id for event in committed][:2]
            assert [event.item_id for event in started][:2] == [event.item_id for event in committed][:2]
            assert committed[1].previous_item_id == committed[0].item_id
            for event in completed:
                assert len(event.transcript.split()) > 3
                assert deltas_of(heard, event.item_id) == event.transcript
                assert event.usage.type == "duration"
                assert "".join(each.token for each in event.logprobs) == event.transcript
        await live.quiet()


@in_loop
async def test_turns_by_the_client() -> None:
    async with live_server() as live, sdk(live) as api:
        async with api.realtime.connect(model="m", extra_query={"intent": "transcription"}) as connection:
            await connection.session.update(session=session(turn_detection=None))
            await events_until(connection, "session.updated")
            for _ in range(2):
                await talk(connection, SPEECH)
                await connection.input_audio_buffer.commit()
                heard = await events_until(connection, f"{TRANSCRIPTION}.completed")
                kinds = [event.type for event in heard]
                assert "input_audio_buffer.speech_started" not in kinds
                completed = heard[-1]
                assert len(completed.transcript.split()) > 10
                assert deltas_of(heard, completed.item_id) == completed.transcript
                assert completed.usage.seconds == pytest.approx(len(SPEECH) / 16_000, abs=0.01)
            await connection.input_audio_buffer.append(audio=base64_pcm(PAUSE))
            await connection.input_audio_buffer.clear()
            await events_until(connection, "input_audio_buffer.cleared")
        await live.quiet()


@in_loop
async def test_a_quiet_microphone_is_heard_when_the_client_commits() -> None:
    quiet = SPEECH[30_000:43_000] * np.float32(0.008)  # over before the VAD knows how quiet this microphone is
    heard_s: list[float] = []

    def watch(streams: Sequence[FakeStream]) -> None:
        heard_s.extend(sum(map(len, stream.audio)) / 16_000 for stream in streams if stream.finished)

    async with live_server(before_step=watch) as live, sdk(live) as api:
        async with api.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            await connection.session.update(session=session(turn_detection=None))
            for sound in (quiet, PAUSE):
                await talk(connection, sound)
                await connection.input_audio_buffer.commit()
                completed = (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1]
                assert completed.usage.seconds == pytest.approx(len(sound) / 16_000, abs=0.01)
    assert heard_s == pytest.approx([len(quiet) / 16_000], abs=0.01)


@in_loop
async def test_a_client_secret_carries_its_session() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, api_key=(KEY,))) as live, sdk(live) as api:
        secret = await api.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session=session(transcription={"model": "x", "language": "de"}, turn_detection=None),
        )
        assert secret.expires_at == pytest.approx(time.time() + 60, abs=20)
        assert secret.session.type == "transcription"
        browser = [f"openai-insecure-api-key.{secret.value}", "realtime"]
        async with live.connect(PATH, subprotocols=browser) as client:
            assert client.subprotocol == "realtime"
            created = json.loads(await client.recv())
            told = created["session"]["audio"]["input"]
            assert told["turn_detection"] is None
            assert told["transcription"]["language"] == "de"
        with pytest.raises(openai.BadRequestError) as caught:
            await api.realtime.client_secrets.create(expires_after={"anchor": "created_at", "seconds": 5})
        assert caught.value.param == "expires_after.seconds"
        with pytest.raises(openai.BadRequestError):
            await api.realtime.client_secrets.create(session={"type": "realtime"})
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as client:
            url = live.http("/v1/realtime/transcription_sessions")
            older = (await client.post(url, json={"input_audio_format": "pcm16"})).json()
            assert older["input_audio_format"] == "pcm16"
            assert older["client_secret"]["value"].startswith("ek_")
            assert (await client.post(url, content=b"x" * 20_000)).status_code == 413
            assert (await client.post(live.http("/v1/realtime/client_secrets"), content=b"{")).status_code == 400


def test_ephemeral_keys_end_and_cannot_be_forged() -> None:
    keys = EphemeralKeys(b"secret")
    key = keys.issue(b'{"a":1}', expires_at=1000)
    assert keys.open(key, 999.5) == b'{"a":1}'
    assert keys.open(key, 1000.0) is None
    assert EphemeralKeys(b"other").open(key, 0.0) is None
    for forged in ("", "ek_", "ek_%%%", key[:-4] + "AAAA", key.replace("ek_", "sk_"), "ek_" + "A" * 30):
        assert keys.open(forged, 0.0) is None


# Keys and origins


@in_loop
async def test_who_may_connect() -> None:
    options = ServerOptions(resume_ttl_s=0, api_key=(KEY,), allow_origin=("https://app.example",))
    bearer = {"Authorization": f"Bearer {KEY}"}
    good: list[dict[str, Any]] = [
        {"additional_headers": bearer},
        {"additional_headers": {"api-key": KEY}},
        {"subprotocols": ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]},
        {"additional_headers": bearer, "origin": "https://app.example"},
    ]
    bad: list[tuple[int, dict[str, Any]]] = [
        (401, {}),
        (401, {"additional_headers": {"Authorization": "Bearer wrong"}}),
        (401, {"subprotocols": ["realtime", "openai-insecure-api-key.ek_abc"]}),
        (403, {"additional_headers": bearer, "origin": "https://evil.example"}),
    ]
    async with live_server(server=options) as live:
        for options_ in good:
            async with live.connect(PATH, **options_) as client:
                assert json.loads(await client.recv())["type"] == "session.created"
        async with live.connect(PATH + f"&api_key={KEY}") as client:
            assert json.loads(await client.recv())["type"] == "session.created"
        for status, options_ in bad:
            with pytest.raises(InvalidStatus) as caught:
                await live.connect(PATH, **options_)
            assert caught.value.response.status_code == status
            assert json.loads(caught.value.response.body)["error"]["type"] == "invalid_request_error"
        await live.quiet()


@in_loop
async def test_a_full_server_says_so_in_the_handshake() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, max_sessions=1)) as live, live.connect(PATH):
        with pytest.raises(InvalidStatus) as caught:
            await live.connect(PATH)
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["retry-after"]


# The socket


async def _frames(client: Any) -> AsyncIterator[dict[str, Any]]:
    try:
        while True:
            yield json.loads(await client.recv())
    except ConnectionClosed:
        return


@in_loop
async def test_minutes_in_one_frame() -> None:
    """More than the session's backlog takes, as SDK samples send a whole file; the socket waits for the engine."""
    options = SessionOptions(max_segment_ms=10_000, max_backlog_ms=30_000)
    times = 1 + 70 * 16_000 // len(SPEECH)
    talk_ = np.tile(SPEECH, times)
    async with live_server(session=options) as live, live.connect(PATH, max_size=None) as client:
        config = session(format={"type": "audio/pcm", "rate": 16_000}, turn_detection=None)
        await client.send(json.dumps({"type": "session.update", "session": config}))
        await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64_pcm(talk_, 16_000)}))
        await client.send(json.dumps({"type": "input_audio_buffer.commit"}))
        async for event in _frames(client):
            assert event["type"] != "error", event
            if event["type"] == f"{TRANSCRIPTION}.completed":
                break
        assert event["usage"]["seconds"] == pytest.approx(len(talk_) / 16_000, abs=0.01)
        assert len(event["transcript"].split()) >= 20 * times


@in_loop
async def test_a_drain_finishes_the_turn_and_says_why_it_ends() -> None:
    async with live_server() as live, live.connect(PATH) as client:
        await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64_pcm(SPEECH)}))
        events: list[dict[str, Any]] = []
        async for event in _frames(client):
            events.append(event)
            if event["type"] == "input_audio_buffer.speech_started":
                live.server.ask_to_end()
        assert [event["type"] for event in events][-2:] == [f"{TRANSCRIPTION}.completed", "error"]
        assert events[-1]["error"]["code"] == "server_restarting"
        assert client.close_code == 1012


@in_loop
async def test_clients_that_vanish_leave_nothing_behind() -> None:
    async with live_server() as live:
        for _ in range(5):
            client = await live.connect(PATH)
            await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64_pcm(SPEECH)}))
            await client.recv()
            client.transport.abort()
        await until(lambda: live.service.admission.sessions == 0)
        await live.quiet()


@in_loop
async def test_garbage_frames_are_answered_and_the_session_lives() -> None:
    rng = np.random.default_rng(7)
    async with live_server() as live, live.connect(PATH) as client:
        await client.recv()
        for _ in range(30):
            await client.send(bytes(rng.integers(32, 127, 40, dtype=np.uint8)).decode())
            answer = json.loads(await client.recv())
            assert answer["error"]["code"] in ("invalid_json", "invalid_type")
        await client.send(b"\x01")
        assert json.loads(await client.recv())["error"]["param"] == "audio"
        await client.send(json.dumps({"type": "input_audio_buffer.clear"}))
        assert json.loads(await client.recv())["type"] == "input_audio_buffer.cleared"


@in_loop
async def test_a_client_that_never_reads_is_closed() -> None:
    options = ServerOptions(resume_ttl_s=0, send_timeout_s=0.2, ping_interval_s=60)
    async with live_server(server=options, send_buffer_bytes=4096) as live:
        client = await live.connect(PATH)
        client.transport.pause_reading()

        async def flood() -> None:
            for _ in range(100_000):
                await client.send('{"type": "' + "x" * 500 + '"}')

        flooding = asyncio.create_task(flood())
        await until(lambda: live.service.admission.sessions == 0)
        assert live.value("steno_sessions_closed_total", code="1013") == 1
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        client.transport.abort()
        await live.quiet()


@in_loop
async def test_vllm_clients_get_their_dialect() -> None:
    async with live_server() as live, live.connect("/v1/realtime") as client:
        assert json.loads(await client.recv())["id"].startswith("sess_")
        await client.send(json.dumps({"type": "session.update", "model": "Qwen/Qwen3-ASR-0.6B"}))
        await client.send(json.dumps({"type": "input_audio_buffer.commit"}))
        for start in range(0, len(SPEECH), 4800):
            piece = base64_pcm(SPEECH[start : start + 4800], 16_000)
            await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": piece}))
        await client.send(json.dumps({"type": "input_audio_buffer.commit", "final": True}))
        text = ""
        async for event in _frames(client):
            assert event["type"] in ("transcription.delta", "transcription.done")
            if event["type"] == "transcription.done":
                break
            text += event["delta"]
        assert text == event["text"]
        assert len(text.split()) > 10


@in_loop
async def test_many_clients_at_once_hear_their_own_words() -> None:
    async with live_server() as live:

        async def dictate(gain: float) -> str:
            async with live.connect(PATH) as client:
                await client.send(json.dumps({"type": "session.update", "session": session(turn_detection=None)}))
                audio = base64_pcm(SPEECH * np.float32(gain))
                await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
                await client.send(json.dumps({"type": "input_audio_buffer.commit"}))
                async for event in _frames(client):
                    if event["type"] == f"{TRANSCRIPTION}.completed":
                        return str(event["transcript"])
                raise AssertionError("the connection ended early")

        gains = (0.4, 0.6, 0.8, 1.0)
        alone = [await dictate(gain) for gain in gains]
        assert len(set(alone)) == len(gains)
        assert await asyncio.gather(*(dictate(gain) for gain in gains)) == alone
