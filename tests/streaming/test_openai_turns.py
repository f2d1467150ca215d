"""The Realtime dialog without sockets: scripted speech and hypotheses in, the events that clients read out."""

import base64
import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno.streaming.config import SessionOptions
from steno.streaming.openai_realtime import RealtimeDialog
from steno.streaming.openai_session import RealtimeConfig
from steno.streaming.protocol import ErrorCode
from steno.streaming.session import Session
from steno.streaming.work import FeedAudio, OpenStream
from tests.scripted import LevelVad, Said

OPTIONS = SessionOptions(pre_roll_ms=0, post_roll_ms=100, min_speech_ms=20, endpoint_ms=400, commit_hold_back_ms=0)
MANUAL = {"audio": {"input": {"turn_detection": None}}}
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


class Chat:
    """A client, its dialog, and whoever answers for the model."""

    def __init__(
        self,
        config: RealtimeConfig = RealtimeConfig(),  # noqa: B008 - frozen
        options: SessionOptions = OPTIONS,
        dashscope: bool = False,
    ) -> None:
        count = itertools.count(1)
        self.session = Session(
            options,
            session_id="s1",
            model="tiny",
            languages=("English", "German"),
            language_codes={"en": "English", "de": "German"},
            new_vad=lambda _: LevelVad(),
        )
        self.dialog = RealtimeDialog(
            self.session,
            options,
            {"English": "en", "German": "de"},
            config=config,
            new_id=lambda kind: f"{kind}_{next(count)}",
            now_s=1000,
            dashscope=dashscope,
        )
        self.heard: list[dict[str, Any]] = []
        self._heard = 0

    def say(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        self.dialog.receive_text(json.dumps({"type": kind, **fields}))
        return self.events()

    def configure(self, session: object) -> dict[str, Any]:
        (updated,) = self.say("session.update", session=session)[-1:]
        assert updated["type"] == "session.updated"
        told: dict[str, Any] = updated["session"]
        return told

    def speak(self, ms: int, level: float = 0.5, rate: int = 24_000) -> list[dict[str, Any]]:
        pcm = np.full(ms * rate // 1000, round(level * 32767), "<i2").tobytes()
        return self.say("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    def pause(self, ms: int) -> list[dict[str, Any]]:
        return self.speak(ms, 0.0)

    def recognise(self, segment: int, text: str, *, final: bool = False, seen: int = 0) -> list[dict[str, Any]]:
        tokens = text.split(" ")
        ends = tuple(itertools.accumulate(len(each) + (index > 0) for index, each in enumerate(tokens)))
        self._heard += 1600  # each hypothesis has heard more than the one before
        said = Said(text, seen or self._heard, final=final, token_ends=ends, logprobs=(-0.25,) * len(ends))
        self.session.receive_hypothesis(segment, said)
        return self.events()

    def events(self) -> list[dict[str, Any]]:
        told = [json.loads(frame) for frame in self.dialog.frames_to_send()]
        assert all(each["event_id"].startswith("event_") for each in told)
        self.heard += told
        return told


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("conversation.item.").removeprefix("input_audio_") for event in events]


def error_of(events: list[dict[str, Any]]) -> tuple[str, str | None, str | None]:
    (event,) = events
    assert event["type"] == "error"
    assert event["error"]["type"] == "invalid_request_error"
    assert event["error"]["message"]
    return event["error"]["code"], event["error"]["param"], event["error"]["event_id"]


# Turns by the server


def test_a_turn_in_order() -> None:
    chat = Chat()
    (created,) = chat.events()
    assert created["type"] == "session.created"
    assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    (started,) = chat.speak(1000)
    assert started["type"] == "input_audio_buffer.speech_started"
    item = started["item_id"]
    chat.recognise(0, "good mor")
    (delta,) = chat.recognise(0, "good morning")
    assert (delta["type"], delta["delta"], delta["unstable"]) == (DELTA, "good mor", "ning")
    stopped = chat.pause(600)
    assert kinds(stopped) == ["buffer.speech_stopped", "buffer.committed", "added", "done"]
    assert stopped[0]["audio_end_ms"] == pytest.approx(1100, abs=40)
    assert stopped[1]["previous_item_id"] is None
    closing = chat.recognise(0, "good morning all", final=True)
    assert kinds(closing) == ["transcription.delta", "transcription.completed"]
    completed = closing[-1]
    assert (
        completed["transcript"] == "good morning all" == "".join(e["delta"] for e in chat.heard if e["type"] == DELTA)
    )
    assert completed["languages"] == [{"code": "en"}]
    assert completed["usage"]["type"] == "duration"
    assert completed["usage"]["seconds"] == pytest.approx(1.1, abs=0.05)
    assert completed["logprobs"] is None
    assert {e["item_id"] for e in chat.heard if "item_id" in e} == {item}


def test_items_are_chained() -> None:
    chat = Chat()
    for _ in range(3):
        chat.speak(500)
        chat.pause(600)
    committed = [event for event in chat.heard if event["type"] == "input_audio_buffer.committed"]
    assert [each["previous_item_id"] for each in committed] == [None, *(each["item_id"] for each in committed[:2])]
    assert len({each["item_id"] for each in committed}) == 3


def test_a_contradicted_delta_is_replaced_by_completed() -> None:
    chat = Chat()
    chat.speak(1000)
    chat.recognise(0, "wreck a nice")
    chat.recognise(0, "wreck a nice")
    chat.pause(600)
    closing = chat.recognise(0, "recognise", final=True)
    assert kinds(closing) == ["transcription.completed"]
    assert closing[0]["transcript"] == "recognise"


def test_log_probabilities_where_asked() -> None:
    chat = Chat()
    told = chat.configure({"include": ["item.input_audio_transcription.logprobs"]})
    assert told["include"] == ["item.input_audio_transcription.logprobs"]
    chat.speak(1000)
    chat.pause(600)
    completed = chat.recognise(0, "one zwölf", final=True)[-1]
    assert completed["logprobs"] == [
        {"token": "one", "bytes": [111, 110, 101], "logprob": -0.25},
        {"token": " zwölf", "bytes": list(" zwölf".encode()), "logprob": -0.25},
    ]


def test_segments_and_unstable_text_where_asked() -> None:
    chat = Chat()
    wanted = ["item.input_audio_transcription.segments", "item.input_audio_transcription.unstable"]
    chat.configure({"include": wanted})
    chat.speak(1000)
    (first,) = chat.recognise(0, "hello wor")
    assert (first["type"][-5:], first["text"], first["stash"]) == (".text", "", "hello wor")
    delta, second = chat.recognise(0, "hello world")
    assert delta["delta"] + second["stash"] == "hello world"
    chat.pause(600)
    closing = chat.recognise(0, "hello world", final=True)
    assert kinds(closing) == ["transcription.delta", "transcription.segment", "transcription.completed"]
    assert (closing[1]["start"], closing[1]["text"]) == (0.0, "hello world")


def test_a_failed_segment_fails_its_item() -> None:
    chat = Chat()
    chat.speak(1000)
    chat.pause(600)
    chat.session.receive_failure(0, "the model stumbled")
    (failed,) = chat.events()
    assert failed["type"].endswith("input_audio_transcription.failed")
    assert failed["error"] == {
        "type": "server_error",
        "code": "transcription_failed",
        "message": "the model stumbled",
        "param": None,
    }


def test_the_client_may_commit_although_the_server_would() -> None:
    chat = Chat()
    chat.speak(1000)
    committed = chat.say("input_audio_buffer.commit")
    assert kinds(committed) == ["buffer.speech_stopped", "buffer.committed", "added", "done"]
    chat.pause(200)
    silent = chat.say("input_audio_buffer.commit")
    assert kinds(silent) == ["buffer.committed", "added", "done", "transcription.completed"]
    assert silent[-1]["transcript"] == ""


def test_a_cleared_turn_says_nothing_more() -> None:
    chat = Chat()
    chat.speak(1000)
    assert kinds(chat.say("input_audio_buffer.clear")) == ["buffer.cleared"]
    assert chat.recognise(0, "late") == []
    (started,) = chat.speak(500)
    assert started["type"] == "input_audio_buffer.speech_started"


# Turns by the client


def test_pauses_do_not_end_a_turn_of_the_client() -> None:
    chat = Chat()
    chat.configure(MANUAL)
    assert chat.speak(1000) == []
    assert chat.pause(1500) == []
    assert chat.speak(1000) == []
    assert chat.recognise(1, "three") == []
    assert chat.recognise(1, "three four") == [], "what the second segment says waits for the first one's final"
    deltas = chat.recognise(0, "one two", final=True)
    assert [each["delta"] for each in deltas] == ["one two", " three"]
    assert kinds(chat.say("input_audio_buffer.commit")) == ["buffer.committed", "added", "done"]
    delta, completed = chat.recognise(1, "three four", final=True)
    assert delta["delta"] == " four"
    assert completed["transcript"] == "one two three four"
    assert completed["usage"]["seconds"] == 3.5


def test_an_early_commit_is_refused_and_the_session_goes_on() -> None:
    chat = Chat()
    chat.configure(MANUAL)
    code, param, _ = error_of(chat.say("input_audio_buffer.commit"))
    assert (code, param) == ("input_audio_buffer_commit_empty", None)
    chat.speak(1000)
    assert kinds(chat.say("input_audio_buffer.commit"))[0] == "buffer.committed"
    assert error_of(chat.say("input_audio_buffer.commit"))[0] == "input_audio_buffer_commit_empty"
    assert chat.session.close_code is None


def test_a_silent_turn_of_the_client_completes_empty() -> None:
    chat = Chat()
    chat.configure(MANUAL)
    chat.pause(500)
    events = chat.say("input_audio_buffer.commit")
    assert kinds(events)[-1] == "transcription.completed"
    assert events[-1]["transcript"] == ""
    assert events[-1]["usage"] == {"type": "duration", "seconds": 0.5}


def test_a_cleared_turn_of_the_client_leaves_no_trace() -> None:
    chat = Chat()
    chat.configure(MANUAL)
    chat.speak(1000)
    chat.say("input_audio_buffer.clear")
    assert error_of(chat.say("input_audio_buffer.commit"))[0] == "input_audio_buffer_commit_empty"
    chat.speak(1000)
    chat.say("input_audio_buffer.commit")
    completed = chat.recognise(1, "again", final=True)[-1]
    assert completed["transcript"] == "again"


def test_turn_detection_switched_on_ends_what_only_the_client_could_have_ended() -> None:
    chat = Chat()
    chat.configure(MANUAL)
    chat.speak(1000)
    chat.say("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
    assert "input_audio_buffer.committed" in [event["type"] for event in chat.heard]
    assert chat.recognise(0, "hi", final=True)[-1]["transcript"] == "hi"


# Configuration


def opened(chat: Chat) -> OpenStream:
    chat.speak(500)
    return next(each for each in chat.session.work_to_run() if isinstance(each, OpenStream))


def test_language_and_context_reach_the_engine() -> None:
    chat = Chat()
    transcription = {"model": "x", "language": "de-AT", "prompt": "a talk", "keywords": ["Schnee", "Föhn"]}
    told = chat.configure({"type": "transcription", "audio": {"input": {"transcription": transcription}}})
    assert told["audio"]["input"]["transcription"]["keywords"] == ["Schnee", "Föhn"]
    work = opened(chat)
    assert (work.language, work.context) == ("German", "a talk\nSchnee, Föhn")


def test_a_field_left_out_stays_as_it_was() -> None:
    chat = Chat()
    chat.configure({"audio": {"input": {"transcription": {"languages": ["en", "de"], "delay": "minimal"}}}})
    told = chat.configure({"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 250}}}})
    assert told["audio"]["input"]["transcription"]["delay"] == "minimal"
    assert told["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 250
    assert opened(chat).languages == ("English", "German")
    assert chat.session.options.interval_ms == 200
    assert chat.session.options.endpoint_ms == 250


def test_the_knobs_of_server_vad() -> None:
    chat = Chat()
    detection = {"type": "server_vad", "threshold": 0.9, "prefix_padding_ms": 120, "silence_duration_ms": 900}
    chat.configure({"audio": {"input": {"turn_detection": detection}}})
    options = chat.session.options
    assert (options.vad_aggressiveness, options.pre_roll_ms, options.endpoint_ms) == (3, 120, 900)
    assert options.vad_margin_db > OPTIONS.vad_margin_db


@pytest.mark.parametrize(("eagerness", "endpoint_ms"), [("low", 2000), ("auto", 1200), ("high", 600)])
def test_semantic_vad_waits_as_eagerness_says(eagerness: str, endpoint_ms: int) -> None:
    chat = Chat()
    chat.configure({"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}}})
    assert chat.session.options.endpoint_ms == endpoint_ms


@pytest.mark.parametrize(
    ("format_", "samples"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, 500 * 16 * 2 // 3 // 2),
        ({"type": "audio/pcm", "rate": 16_000}, 250 * 16),
        ({"type": "audio/pcm", "rate": 48_000}, 250 * 16 // 3),
        ({"type": "audio/pcmu"}, 1000 * 16),
        ({"type": "audio/pcma"}, 1000 * 16),
    ],
)
def test_formats(format_: dict[str, object], samples: int) -> None:
    chat = Chat()
    chat.configure({"audio": {"input": {"format": format_}}})
    loud = np.full(4000, 0x4000, "<i2").tobytes()
    for _ in range(3):
        chat.say("input_audio_buffer.append", audio=base64.b64encode(loud).decode())
    chat.say("input_audio_buffer.commit")
    heard = sum(len(each.samples) for each in chat.session.work_to_run() if isinstance(each, FeedAudio))
    bytes_per_ms = {24_000: 48, 16_000: 32, 48_000: 96}.get(int(str(format_.get("rate", 0))), 8)
    assert heard == pytest.approx(24_000 / bytes_per_ms * 16, abs=16 * 60)


def test_the_older_flat_shape() -> None:
    chat = Chat()
    session = {
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1", "language": "en"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        "input_audio_noise_reduction": {"type": "near_field"},
    }
    (updated,) = chat.say("transcription_session.update", session=session)[-1:]
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["input_audio_format"] == "g711_ulaw"
    assert updated["session"]["turn_detection"]["silence_duration_ms"] == 300
    assert updated["session"]["input_audio_noise_reduction"] == {"type": "near_field"}
    chat.say("input_audio_buffer.append", audio=base64.b64encode(b"\x00" * 8000).decode())
    told = chat.say("input_audio_buffer.append", audio=base64.b64encode(b"\xff" * 8000).decode())
    assert "conversation.item.created" in [event["type"] for event in told]


def test_audio_in_binary_frames() -> None:
    chat = Chat()
    chat.dialog.receive_bytes(np.full(24_000, 8000, "<i2").tobytes())
    assert kinds(chat.events())[-1] == "buffer.speech_started"


def test_minutes_in_one_event_wait_for_the_engine() -> None:
    """Nothing is lost, and the session is never given more than it takes."""
    chat = Chat(options=SessionOptions(max_segment_ms=10_000, endpoint_ms=400, pre_roll_ms=0, min_speech_ms=20))
    chat.speak(120_000, rate=24_000)
    assert not chat.dialog.hungry
    finals = 0
    while not chat.dialog.hungry or chat.session.waiting > 1:
        ended = [event for event in chat.heard if event["type"] == "input_audio_buffer.committed"]
        assert len(ended) > finals, "the dialog waits, and nothing is under way"
        chat.recognise(finals, "x", final=True, seen=10_000 * 16)
        finals += 1
        chat.dialog.advance()
        chat.events()
    assert chat.session.close_code is None
    assert chat.session.position == pytest.approx(120_000 * 16, abs=1)


# Refusals


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_type", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type": 5}', "invalid_type", "type"),
        ('{"type": "dance"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 7}', "invalid_type", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty", None),
        ('{"type": "session.update"}', "missing_required_parameter", "session"),
        ('{"type": "session.update", "session": 3}', "invalid_type", "session"),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "invalid_value", "session.type"),
        ('{"type": "session.update", "session": {"include": ["x"]}}', "invalid_value", "session.include"),
        (
            '{"type": "session.update", "session": {"input_audio_format": "mp3"}}',
            "invalid_value",
            "session.input_audio_format",
        ),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/ogg"}}}}}',
            "invalid_value",
            "session.audio.input.format.type",
        ),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 7}}}}}',
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"format": {}}}}}',
            "missing_required_parameter",
            "session.audio.input.format",
        ),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "psychic"}}}}}',
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            '{"type":"session.update","session":{"turn_detection":{"type":"server_vad","silence_duration_ms":1}}}',
            "invalid_value",
            "session.audio.input.turn_detection",
        ),
        (
            '{"type":"session.update","session":{"turn_detection":{"type":"semantic_vad","eagerness":"wild"}}}',
            "invalid_value",
            "session.audio.input.turn_detection.eagerness",
        ),
        (
            '{"type":"session.update","session":{"audio":{"input":{"transcription":{"delay":"eternal"}}}}}',
            "invalid_value",
            "session.audio.input.transcription.delay",
        ),
        (
            '{"type":"session.update","session":{"audio":{"input":{"transcription":{"language":"tlh"}}}}}',
            "invalid_language_format",
            "language",
        ),
    ],
)
def test_bad_events_cost_the_client_nothing_but_an_error(frame: str, code: str, param: str | None) -> None:
    chat = Chat()
    chat.events()
    chat.dialog.receive_text(frame)
    assert error_of(chat.events())[:2] == (code, param)
    assert chat.session.close_code is None
    assert kinds(chat.speak(500)) == ["buffer.speech_started"]


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    chat = Chat()
    for _ in range(1000):
        if chat.dialog.hungry:
            chat.dialog.receive_text("{")
    assert not chat.dialog.hungry
    assert len(chat.events()) < 300
    assert chat.dialog.hungry


def test_an_error_names_the_event() -> None:
    chat = Chat()
    chat.events()
    assert error_of(chat.say("input_audio_buffer.commit", event_id="mine_7"))[2] == "mine_7"


def test_the_end_of_the_session_is_told() -> None:
    chat = Chat()
    chat.speak(1000)
    chat.session.drain()
    chat.recognise(0, "bye", final=True)
    assert kinds(chat.heard)[-2:] == ["transcription.completed", "error"]
    assert chat.heard[-1]["error"]["code"] == "server_restarting"
    assert chat.heard[-1]["error"]["type"] == "server_error"
    assert chat.session.close_code == 1012


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_of_ours_has_words_of_theirs(code: ErrorCode) -> None:
    from steno.streaming.openai_errors import in_their_words

    error = in_their_words(code, "because")
    assert error.code
    assert error.message == "because"
    assert 400 <= error.status < 600


# vLLM's dialect


def test_vllm_dialect() -> None:
    chat = Chat()
    (created,) = chat.events()
    assert created["id"] == "sess_s1"
    assert created["created"] == 1000
    assert chat.say("session.update", model="Qwen/Qwen3-ASR-0.6B") == []
    assert chat.say("input_audio_buffer.commit", final=False) == []
    chat.speak(1000, rate=16_000)
    chat.recognise(0, "to be or")
    (delta,) = chat.recognise(0, "to be or not")
    assert delta == {"event_id": delta["event_id"], "type": "transcription.delta", "delta": "to be or"}
    chat.speak(600, 0.0, rate=16_000)
    chat.speak(500, rate=16_000)
    assert chat.say("input_audio_buffer.commit", final=True) == []
    chat.recognise(0, "to be or not", final=True)
    *_, last, done = chat.recognise(1, "to be", final=True)
    assert last["delta"] == " to be"
    assert (done["type"], done["text"]) == ("transcription.done", "to be or not to be")
    assert done["usage"] == {"type": "duration", "seconds": 2.1}
    (error,) = chat.say("dance")
    assert (error["code"], type(error["error"])) == ("unknown_event", str)
    chat.speak(500, rate=16_000)
    chat.say("input_audio_buffer.commit", final=True)
    assert chat.recognise(2, "again", final=True)[-1]["text"] == "again"


# DashScope's dialect


def test_dashscope_dialect() -> None:
    chat = Chat(RealtimeConfig(rate=16_000, flat=True), dashscope=True)
    chat.say(
        "session.update",
        session={
            "modalities": ["text"],
            "input_audio_format": "pcm",
            "sample_rate": 16_000,
            "input_audio_transcription": {"language": "de", "corpus": {"text": "Föhn"}},
            "turn_detection": {"type": "server_vad", "threshold": 0.2, "silence_duration_ms": 400},
        },
    )
    told = chat.speak(1000, rate=16_000)
    (opened,) = [each for each in chat.session.work_to_run() if isinstance(each, OpenStream)]
    assert (opened.language, opened.context) == ("German", "Föhn")
    assert kinds(told) == ["buffer.speech_started"]
    chat.recognise(0, "guten mor")
    (text,) = chat.recognise(0, "guten morgen")
    assert text["type"].endswith("transcription.text")
    assert (text["text"], text["stash"]) == ("guten mor", "gen")
    chat.say("session.finish")
    assert kinds(chat.heard)[-3:] == ["buffer.speech_stopped", "buffer.committed", "created"]
    completed, finished = chat.recognise(0, "guten morgen", final=True)
    assert (completed["transcript"], completed["language"]) == ("guten morgen", "en")
    assert finished["type"] == "session.finished"
    assert chat.session.close_code == 1000


def test_dashscope_with_commits_of_the_client() -> None:
    chat = Chat(RealtimeConfig(rate=16_000, flat=True), dashscope=True)
    chat.configure({"input_audio_format": "pcm", "turn_detection": None})
    chat.speak(1000, rate=16_000)
    chat.say("session.finish")
    completed, finished = chat.recognise(0, "schluss", final=True)
    assert (completed["transcript"], finished["type"]) == ("schluss", "session.finished")


# Whatever comes


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KNOWN = st.sampled_from(
    ["session.update", "transcription_session.update", "input_audio_buffer.append", "input_audio_buffer.commit",
     "input_audio_buffer.clear"]
)  # fmt: skip
_INPUT = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from([{"type": "audio/pcm"}, {"type": "audio/pcmu"}, {"type": "audio/pcm", "rate": 8000}])
        | _JSON,
        "turn_detection": st.sampled_from([None, {"type": "server_vad"}, {"type": "semantic_vad"}]) | _JSON,
        "transcription": st.fixed_dictionaries({}, optional={"language": _JSON, "prompt": _JSON, "delay": _JSON}),
    },
)
_SESSION = st.fixed_dictionaries({}, optional={"audio": st.fixed_dictionaries({"input": _INPUT}), "type": _JSON})
_AUDIO = st.binary(max_size=400).map(lambda pcm: base64.b64encode(pcm).decode()) | st.just(
    base64.b64encode(np.full(12_000, 9000, "<i2").tobytes()).decode()
)
_EVENT = st.fixed_dictionaries(
    {"type": _KNOWN | st.text(max_size=5)},
    optional={"session": _SESSION | _JSON, "audio": _AUDIO | _JSON, "final": st.booleans(), "model": _JSON,
              "event_id": _JSON},
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(_EVENT.map(json.dumps) | st.text(max_size=20) | _JSON.map(json.dumps), max_size=12))
def test_no_sequence_of_frames_breaks_the_dialog(frames: list[str]) -> None:
    chat = Chat()
    for frame in frames:
        chat.dialog.receive_text(frame)
        chat.events()
        for work in chat.session.work_to_run():
            if isinstance(work, OpenStream):
                chat.recognise(work.segment, "a b c")
    assert chat.session.close_code is None
    for segment in range(50):
        chat.recognise(segment, "a b", final=True)
    committed = [event["item_id"] for event in chat.heard if event["type"].endswith("buffer.committed")]
    assert len(set(committed)) == len(committed)
    completed = [event["item_id"] for event in chat.heard if event["type"] == COMPLETED]
    assert sorted(completed) == sorted(committed), "every item that was committed completes once"
