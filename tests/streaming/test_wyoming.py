"""Wyoming: frames and events without sockets, then the real client over TCP and a unix socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient, AsyncTcpClient, AsyncUnixClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from steno.streaming.config import ServerOptions, SessionOptions
from steno.streaming.session import Session
from steno.streaming.work import OpenStream
from steno.streaming.wyoming import WyomingDialog, described
from steno.streaming.wyoming_frames import MAX_PAYLOAD_BYTES, BadFrame, FrameReader, WyomingEvent, encode
from steno.streaming.wyoming_server import wyoming_servers
from tests.audio_clips import recording
from tests.live import Live, in_loop, live_server, until
from tests.scripted import LevelVad, Said

SPEECH = recording("coffee_order")
FORMAT = {"rate": 16_000, "width": 2, "channels": 1}


# Frames


def test_frames_in_any_cuts() -> None:
    events = [
        WyomingEvent("describe"),
        WyomingEvent("audio-chunk", FORMAT, b"\x00\n{}" * 500),
        WyomingEvent("transcribe", {"language": "de", "name": "größer"}),
    ]
    stream = b"".join(encode(event) for event in events)
    for step in (1, 7, 1000, len(stream)):
        reader = FrameReader()
        read = [event for at in range(0, len(stream), step) for event in reader.feed(stream[at : at + step])]
        assert read == events


def test_data_in_the_header_and_behind_it() -> None:
    line = json.dumps({"type": "x", "data": {"a": 1, "b": 1}, "data_length": 9, "payload_length": None}) + '\n{"b": 2} '
    assert FrameReader().feed(line.encode()) == [WyomingEvent("x", {"a": 1, "b": 2})]


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"GET / HTTP/1.1\n", "header cannot be read"),
        (b'{"data": {}}\n', "type"),
        (b"[1]\n", "header cannot be read"),
        (b'{"type": "x", "payload_length": -1}\n', "payload_length is -1"),
        (b'{"type": "x", "payload_length": %d}\n' % (MAX_PAYLOAD_BYTES + 1), "payload_length"),
        (b'{"type": "x", "data_length": 99999999}\n', "data_length"),
        (b'{"type": "x", "data_length": 3}\n[1]', "data of an event"),
        (b"x" * 70_000, "longer than"),
    ],
)
def test_bad_frames(stream: bytes, message: str) -> None:
    with pytest.raises(BadFrame, match=message):
        FrameReader().feed(stream)


# The dialog


class Chat:
    """A client, its dialog, and whoever answers for the model."""

    def __init__(self) -> None:
        options = SessionOptions(
            pre_roll_ms=0, post_roll_ms=100, min_speech_ms=20, endpoint_ms=400, commit_hold_back_ms=0
        )
        self.session = Session(
            options,
            session_id="s",
            model="tiny",
            languages=("English", "German"),
            language_codes={"en": "English", "de": "German"},
            new_vad=lambda _: LevelVad(),
        )
        self._heard = 0
        codes = {"English": "en", "German": "de"}
        self.dialog = WyomingDialog(self.session, options, codes, described("tiny", ["en", "de"], "1"))

    def say(self, kind: str, payload: bytes = b"", /, **data: object) -> list[WyomingEvent]:
        self.dialog.receive(WyomingEvent(kind, data, payload))
        return self.dialog.events_to_send()

    def speak(self, ms: int, level: float = 0.5) -> list[WyomingEvent]:
        return self.say("audio-chunk", np.full(ms * 16, round(level * 32767), "<i2").tobytes(), **FORMAT)

    def recognise(self, segment: int, text: str, *, final: bool = False) -> list[WyomingEvent]:
        self._heard += 1600  # each hypothesis has heard more than the one before
        self.session.receive_hypothesis(segment, Said(text, self._heard, final=final))
        return self.dialog.events_to_send()


def test_an_utterance_in_order() -> None:
    chat = Chat()
    chat.say("transcribe", language="en-US", transcript_names=["Kitchen"], transcript_terms=["light"])
    chat.say("audio-start", b"", **FORMAT)
    chat.speak(1000)
    (opened,) = [each for each in chat.session.work_to_run() if isinstance(each, OpenStream)]
    assert (opened.language, opened.context) == ("English", "Kitchen, light")
    chat.recognise(0, "turn on the")
    start, chunk = chat.recognise(0, "turn on the light")
    assert (start.type, chunk.type, chunk.data["text"]) == ("transcript-start", "transcript-chunk", "turn on the")
    assert chat.say("audio-stop") == []
    events = chat.recognise(0, "turn on the light", final=True)
    assert [event.type for event in events] == ["transcript-chunk", "transcript", "transcript-stop"]
    assert events[0].data["text"] == " light"
    assert events[1].data == {"text": "turn on the light", "language": "en"}


def test_a_second_utterance_waits_for_the_first() -> None:
    chat = Chat()
    chat.speak(500)
    chat.say("audio-stop")
    chat.speak(500)
    assert chat.say("audio-stop") == []
    assert not chat.dialog.hungry
    assert [event.type for event in chat.recognise(0, "one", final=True)][-2:] == ["transcript", "transcript-stop"]
    assert chat.dialog.hungry
    assert chat.recognise(1, "two", final=True)[-2].data["text"] == "two"


def test_silence_is_an_empty_transcript() -> None:
    chat = Chat()
    chat.speak(500, 0.0)
    events = chat.say("audio-stop")
    assert [event.type for event in events] == ["transcript-start", "transcript", "transcript-stop"]
    assert events[1].data == {"text": ""}


def test_pauses_within_an_utterance() -> None:
    chat = Chat()
    for level in (0.5, 0.0, 0.5):
        chat.speak(1500, level)
    chat.say("audio-stop")
    chat.recognise(0, "one", final=True)
    assert chat.recognise(1, "two", final=True)[-2].data["text"] == "one two"


def test_what_the_model_cannot_do_is_told() -> None:
    chat = Chat()
    chat.speak(500)
    chat.say("audio-stop")
    chat.session.receive_failure(0, "it stumbled")
    events = chat.dialog.events_to_send()
    assert [event.type for event in events] == ["transcript-start", "error", "transcript", "transcript-stop"]


def test_small_talk() -> None:
    chat = Chat()
    assert chat.say("ping", text="hi") == [WyomingEvent("pong", {"text": "hi"})]
    assert chat.say("describe")[0].type == "info"
    assert chat.say("timer-started") == []
    assert chat.session.close_code is None


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    chat = Chat()
    for _ in range(1000):
        if chat.dialog.hungry:
            chat.dialog.receive(WyomingEvent("ping"))
    assert not chat.dialog.hungry
    assert len(chat.dialog.events_to_send()) < 300
    assert chat.dialog.hungry


@pytest.mark.parametrize(
    ("kind", "data", "payload", "code"),
    [
        ("audio-start", {"rate": 16_000, "width": 3, "channels": 1}, b"", "unsupported_encoding"),
        ("audio-start", {"rate": 11_025, "width": 2, "channels": 1}, b"", "unsupported_sample_rate"),
        ("audio-start", {"rate": 16_000, "width": 2, "channels": 9}, b"", "unsupported_channels"),
        ("audio-start", {"rate": "fast"}, b"", "bad_field"),
        ("audio-chunk", FORMAT, b"abc", "bad_audio"),
        ("audio-chunk", {}, b"ab", "bad_field"),
        ("transcribe", {"language": 4}, b"", "bad_field"),
    ],
)
def test_faults_of_the_client(kind: str, data: dict[str, object], payload: bytes, code: str) -> None:
    chat = Chat()
    (error,) = chat.say(kind, payload, **data)
    assert (error.type, error.data["code"]) == ("error", code)
    assert chat.session.close_code is not None


def test_an_unknown_language() -> None:
    chat = Chat()
    chat.say("transcribe", language="tlh")
    (error,) = chat.say("audio-start", b"", **FORMAT)
    assert error.data["code"] == "unknown_language"


_VALUES = st.none() | st.integers(-5, 50_000) | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)
_EVENTS = st.builds(
    WyomingEvent,
    st.sampled_from(["describe", "ping", "transcribe", "audio-start", "audio-chunk", "audio-stop", "other"]),
    st.just(FORMAT) | st.dictionaries(st.sampled_from(["rate", "width", "channels", "language", "text"]), _VALUES),
    st.binary(max_size=50) | st.just(np.full(8000, 9000, "<i2").tobytes()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_EVENTS, max_size=10))
def test_no_sequence_of_events_breaks_the_dialog(events: list[WyomingEvent]) -> None:
    chat = Chat()
    told: list[WyomingEvent] = []
    for event in events:
        chat.dialog.receive(event)
        told += chat.dialog.events_to_send()
    for segment in range(20):
        told += chat.recognise(segment, "a b", final=True)
    kinds = [event.type for event in told]
    assert kinds.count("transcript") == kinds.count("transcript-start") == kinds.count("transcript-stop")
    assert kinds.count("error") == (chat.session.close_code is not None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.just(b'{"type":"x"}\n'), max_size=10))
def test_no_bytes_break_the_reader(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except BadFrame:
        pass


# The real client


@asynccontextmanager
async def wyoming_live(path: Path | None = None, **options: Any) -> AsyncIterator[tuple[Live, int]]:
    """A live server that speaks Wyoming too; gives its TCP port."""
    server = ServerOptions(
        resume_ttl_s=0, wyoming_port=0, wyoming_socket=None if path is None else str(path), **options
    )
    async with live_server(server=server) as live, wyoming_servers(live.service) as servers:
        yield live, servers[0].sockets[0].getsockname()[1]


async def transcribe(client: AsyncClient, samples: NDArray[np.float32]) -> list[Event]:
    """As Home Assistant does it: everything up to the end of the transcript."""
    await client.write_event(Transcribe(language="en").event())
    await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
    for start in range(0, len(samples), 1024):
        pcm = (samples[start : start + 1024] * 32767).astype("<i2").tobytes()
        await client.write_event(AudioChunk(rate=16_000, width=2, channels=1, audio=pcm).event())
    await client.write_event(AudioStop().event())
    events: list[Event] = []
    while not events or not TranscriptStop.is_type(events[-1].type):
        event = await client.read_event()
        assert event is not None
        events.append(event)
    return events


@in_loop
async def test_the_real_client_over_tcp_and_unix(tmp_path: Path) -> None:
    path = tmp_path / "steno.sock"
    async with wyoming_live(path) as (live, port):
        clients: list[AsyncClient] = [AsyncTcpClient("127.0.0.1", port), AsyncUnixClient(str(path))]
        for client in clients:
            async with client:
                await client.write_event(Describe().event())
                told = await client.read_event()
                assert told is not None
                (program,) = Info.from_event(told).asr
                assert program.supports_transcript_streaming
                assert program.models[0].name == "fake"
                assert program.models[0].languages == ["en", "fr", "de"]
                await client.write_event(Ping("x").event())
                pong = await client.read_event()
                assert pong is not None
                assert Pong.from_event(pong).text == "x"
                for _ in range(2):
                    events = await transcribe(client, SPEECH)
                    assert TranscriptStart.is_type(events[0].type)
                    transcript = Transcript.from_event(events[-2])
                    assert len(transcript.text.split()) > 10
                    assert transcript.language == "en"
                    chunks = [event for event in events if TranscriptChunk.is_type(event.type)]
                    assert "".join(TranscriptChunk.from_event(each).text for each in chunks) == transcript.text
        await live.quiet()
    assert not path.exists()


@in_loop
async def test_garbage_gets_an_error_and_an_end() -> None:
    async with wyoming_live() as (live, port):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b'{"type": "audio-chunk", "payload_length": 1e9}\n'):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(garbage)
            (event,) = FrameReader().feed(await reader.read())
            assert (event.type, event.data["code"]) == ("error", "bad_json")
            writer.close()
        await live.quiet()


@in_loop
async def test_clients_that_vanish_leave_nothing_behind() -> None:
    async with wyoming_live() as (live, port):
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            pcm = (SPEECH * 32767).astype("<i2").tobytes()
            writer.write(encode(WyomingEvent("audio-chunk", FORMAT, pcm))[:-1000])
            await writer.drain()
            writer.transport.abort()
        await live.quiet()
        async with AsyncTcpClient("127.0.0.1", port) as client:
            assert Transcript.from_event((await transcribe(client, SPEECH))[-2]).text


@in_loop
async def test_a_full_server_and_one_that_ends() -> None:
    async with wyoming_live(max_sessions=1) as (live, port), AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Describe().event())
        await client.read_event()
        async with AsyncTcpClient("127.0.0.1", port) as second:
            refused = await second.read_event()
            assert refused is not None
            assert Error.from_event(refused).code == "full"
        pcm = (SPEECH * 32767).astype("<i2").tobytes()
        await client.write_event(AudioChunk(16_000, 2, 1, pcm).event())
        await until(lambda: bool(live.recognizer.steps))
        drained = asyncio.create_task(live.service.admission.drain(10))
        kinds = []
        while (event := await client.read_event()) is not None:
            kinds.append(event.type)
        assert "transcript-chunk" in kinds
        assert kinds[-1] == "error"
        assert await drained


@in_loop
async def test_keys_and_wyoming_need_a_word_on_purpose() -> None:
    with pytest.raises(ValueError, match="wyoming_host"):
        async with wyoming_live(api_key=("k",)):
            pass
    async with wyoming_live(api_key=("k",), wyoming_host="127.0.0.1") as (_, port):
        async with AsyncTcpClient("127.0.0.1", port) as client:
            assert (await transcribe(client, SPEECH))[-2].data["text"]
