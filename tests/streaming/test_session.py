"""The session as its server drives it: messages in, messages and work out, one behaviour per test."""

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

import numpy as np
import pytest

from steno.streaming import protocol as wire
from steno.streaming.config import SessionOptions
from steno.streaming.phases import Phase
from steno.streaming.protocol import ErrorCode, NoticeCode, ProtocolError
from steno.streaming.session import Session
from steno.streaming.work import AlignedWord, Cancel, FeedAudio, Finish, OpenStream, Update, Work
from tests.scripted import LevelVad, Said

MS = 16
OPTIONS = SessionOptions(pre_roll_ms=0, post_roll_ms=100, min_speech_ms=20, endpoint_ms=400, commit_hold_back_ms=0)


def pcm(value: float, ms: int) -> bytes:
    return np.full(ms * MS, round(value * 32767), "<i2").tobytes()


def speech(ms: int) -> bytes:
    return pcm(0.5, ms)


def silence(ms: int) -> bytes:
    return pcm(0.0, ms)


def new_session(options: SessionOptions = OPTIONS, *, token: str | None = None, aligner: bool = False) -> Session:
    return Session(
        options,
        session_id="s1",
        model="tiny",
        languages=("English", "German"),
        language_codes={"en": "English", "de": "German"},
        aligner=aligner,
        resume_token=token,
        new_vad=lambda _: LevelVad(),
    )


def started(options: SessionOptions = OPTIONS, start: wire.Start | None = None, token: str | None = None) -> Session:
    session = new_session(options, token=token)
    session.receive_control(start or wire.Start())
    (ready,) = session.messages_to_send()
    assert isinstance(ready, wire.Ready)
    return session


def kinds(messages: list[wire.ServerMessage]) -> list[str]:
    return [type(each).__name__ for each in messages]


def work_kinds(work: list[Work]) -> list[str]:
    return [type(each).__name__ for each in work]


def finals(messages: list[wire.ServerMessage]) -> list[tuple[int, str]]:
    return [(each.segment, each.text) for each in messages if isinstance(each, wire.Final)]


def error(session: Session) -> tuple[ErrorCode, int | None]:
    last = session.messages_to_send()[-1]
    assert isinstance(last, wire.Error)
    return last.code, session.close_code


class TestStart:
    def test_ready_tells_what_is_in_force(self) -> None:
        session = new_session(token="t1")
        session.receive_control(wire.Start(language="de", interval_ms=250))
        (ready,) = session.messages_to_send()
        assert ready == wire.Ready(
            session="s1",
            model="tiny",
            languages=("English", "German"),
            resume="t1",
            interval_ms=250,
            endpoint_ms=400,
            limits=wire.Limits(
                max_message_bytes=1 << 20,
                max_segment_ms=30_000,
                max_session_s=14_400,
                max_backlog_ms=60_000,
                resume_ttl_s=0,
            ),
        )
        assert session.options.language == "German"

    @pytest.mark.parametrize("name", ["english", "EN", " English "])
    def test_languages_by_name_or_code_reach_the_engine(self, name: str) -> None:
        session = started(start=wire.Start(language=name, languages=("de", "en"), context="steno"))
        session.receive_audio(speech(100))
        assert session.work_to_run()[0] == OpenStream(0, "English", ("German", "English"), "steno", words=False)

    def test_words_without_an_aligner_are_refused_by_a_notice(self) -> None:
        session = new_session()
        session.receive_control(wire.Start(words=True))
        _, notice = session.messages_to_send()
        assert isinstance(notice, wire.Notice)
        assert notice.code == NoticeCode.WORDS_UNAVAILABLE

    @pytest.mark.parametrize(
        ("start", "code"),
        [
            (wire.Start(version=2), ErrorCode.UNSUPPORTED_VERSION),
            (wire.Start(sample_rate=12_000), ErrorCode.UNSUPPORTED_SAMPLE_RATE),
            (wire.Start(encoding="opus"), ErrorCode.UNSUPPORTED_ENCODING),
            (wire.Start(channels=6), ErrorCode.UNSUPPORTED_CHANNELS),
            (wire.Start(language="Klingon"), ErrorCode.UNKNOWN_LANGUAGE),
            (wire.Start(languages=("en", "tlh")), ErrorCode.UNKNOWN_LANGUAGE),
            (wire.Start(interval_ms=1), ErrorCode.BAD_FIELD),
            (wire.Start(endpoint_ms=-5), ErrorCode.BAD_FIELD),
            (wire.Start(context="x" * 2001), ErrorCode.BAD_FIELD),
            (wire.Start(resume="unheard of"), ErrorCode.UNKNOWN_RESUME),
        ],
    )
    def test_bad_starts(self, start: wire.Start, code: ErrorCode) -> None:
        session = new_session()
        session.receive_control(start)
        assert error(session) == (code, wire.CLOSE_CODES[code])
        assert session.phase is Phase.CLOSED


class TestSegments:
    def test_an_utterance_from_start_to_final(self) -> None:
        session = started()
        session.receive_audio(silence(200))
        session.receive_audio(speech(600))
        session.receive_audio(silence(600))
        assert session.messages_to_send() == [
            wire.SpeechStart(segment=0, at_ms=200, seq=1),
            wire.SpeechEnd(segment=0, at_ms=900, reason="endpoint", seq=2),
        ]
        work = session.work_to_run()
        assert work_kinds(work) == ["OpenStream", "FeedAudio", "Update", "FeedAudio", "Update", "Finish"]
        assert sum(len(each.samples) for each in work if isinstance(each, FeedAudio)) == 700 * MS
        session.receive_hypothesis(0, Said("hello world", 700 * MS, final=True, logprobs=(-0.5, -1.5)))
        assert session.messages_to_send() == [
            wire.Final(
                segment=0, text="hello world", language="English", start_ms=200, end_ms=900, confidence=0.3679, seq=3
            )
        ]

    def test_updates_are_asked_for_each_interval_of_audio(self) -> None:
        session = started(start=wire.Start(interval_ms=200))
        for _ in range(10):
            session.receive_audio(speech(100))
        assert work_kinds(session.work_to_run()).count("Update") == 5

    def test_a_pause_asks_for_an_update_at_once(self) -> None:
        session = started(start=wire.Start(interval_ms=10_000))
        session.receive_audio(speech(300))
        session.receive_audio(silence(120))
        assert session.work_to_run()[-1] == Update(0, 10_000)

    def test_partials_show_committed_and_tentative(self) -> None:
        session = started()
        session.receive_audio(speech(1000))
        session.messages_to_send()
        for heard_ms in (500, 600, 700):
            session.receive_hypothesis(0, Said("hello", heard_ms * MS))
        session.receive_hypothesis(0, Said("hello world", 1000 * MS))
        assert session.messages_to_send() == [
            wire.Partial(
                segment=0,
                revision=3,
                committed="hello",
                tentative=" world",
                language="English",
                start_ms=0,
                end_ms=1000,
            )
        ]
        assert session.partials_replaced == 2

    def test_finals_keep_the_order_of_segments(self) -> None:
        session = started()
        for _ in range(3):
            session.receive_audio(speech(200))
            session.receive_control(wire.Commit())
        session.messages_to_send()
        session.receive_hypothesis(2, Said("three", final=True))
        session.receive_hypothesis(1, Said("two", final=True))
        assert session.messages_to_send() == []
        session.receive_hypothesis(0, Said("one", final=True))
        assert finals(session.messages_to_send()) == [(0, "one"), (1, "two"), (2, "three")]

    def test_partials_of_the_next_segment_do_not_wait_for_a_late_final(self) -> None:
        session = started()
        session.receive_audio(speech(200))
        session.receive_control(wire.Commit())
        session.receive_audio(speech(200))
        session.messages_to_send()
        session.receive_hypothesis(1, Said("next", 200 * MS))
        assert kinds(session.messages_to_send()) == ["Partial"]

    def test_a_final_hypothesis_before_the_end_is_a_partial(self) -> None:
        session = started()
        session.receive_audio(speech(200))
        session.messages_to_send()
        session.receive_hypothesis(0, Said("too early", final=True))
        assert kinds(session.messages_to_send()) == ["Partial"]

    def test_what_comes_after_the_final_is_ignored(self) -> None:
        session = started()
        session.receive_audio(speech(200))
        session.receive_control(wire.Commit())
        session.receive_hypothesis(0, Said("one", final=True))
        session.messages_to_send()
        session.receive_hypothesis(0, Said("one again"))
        session.receive_hypothesis(0, Said("one again", final=True))
        session.receive_failure(0, "late")
        assert session.messages_to_send() == []

    def test_clear_drops_the_segment_with_an_empty_final(self) -> None:
        session = started()
        session.receive_audio(speech(200))
        session.receive_hypothesis(0, Said("drop this", 100 * MS))
        session.receive_hypothesis(0, Said("drop this", 200 * MS))
        session.receive_control(wire.Clear())
        messages = session.messages_to_send()
        assert kinds(messages) == ["SpeechStart", "SpeechEnd", "Final"]
        assert finals(messages) == [(0, "")]
        assert session.work_to_run()[-1] == Cancel(0)

    def test_a_truncated_final_says_so(self) -> None:
        session = started()
        session.receive_audio(speech(200))
        session.receive_control(wire.Commit())
        session.messages_to_send()
        session.receive_hypothesis(0, Said("loop loop", final=True, truncated=True))
        notice, final = session.messages_to_send()
        assert isinstance(notice, wire.Notice)
        assert (notice.code, notice.segment, notice.end_ms) == (NoticeCode.TRUNCATED, 0, 200)
        assert isinstance(final, wire.Final)

    def test_contradictions_are_counted(self) -> None:
        session = started()
        for text in ("kept words", "other words"):
            session.receive_audio(speech(200))
            segment = int(text == "other words")
            for heard_ms in (100, 200):
                session.receive_hypothesis(segment, Said("kept words here", heard_ms * MS))
            session.receive_control(wire.Commit())
            session.receive_hypothesis(segment, Said(text + " here", final=True))
        assert session.contradictions == 1

    def test_words_are_told_in_stream_time(self) -> None:
        session = new_session(aligner=True)
        session.receive_control(wire.Start(words=True))
        session.receive_audio(silence(1000) + speech(500))
        session.receive_control(wire.Commit())
        assert session.work_to_run()[0] == OpenStream(0, None, (), "", words=True)
        session.receive_hypothesis(0, Said("hi", final=True), (AlignedWord("hi", 100 * MS, 300 * MS),))
        final = session.messages_to_send()[-1]
        assert isinstance(final, wire.Final)
        assert final.words == (wire.Word(text="hi", start_ms=1100, end_ms=1300),)

    def test_without_vad_only_commit_ends_a_segment(self) -> None:
        session = started(start=wire.Start(vad=False))
        session.receive_audio(silence(3000))
        session.receive_control(wire.Commit())
        session.receive_control(wire.Commit())
        start, end = session.messages_to_send()
        assert (start, end) == (
            wire.SpeechStart(segment=0, at_ms=0, seq=1),
            wire.SpeechEnd(segment=0, at_ms=3000, reason="commit", seq=2),
        )

    def test_commit_takes_what_the_resampler_holds(self) -> None:
        session = started(start=wire.Start(vad=False, sample_rate=48_000))
        session.receive_audio(bytes(2 * 48_000))
        session.receive_control(wire.Commit())
        end = session.messages_to_send()[-1]
        assert end == wire.SpeechEnd(segment=0, at_ms=1000, reason="commit", seq=2)

    def test_a_gap_moves_the_clock(self) -> None:
        session = started(start=wire.Start(sample_rate=8000))
        session.receive_audio(speech(200))
        session.receive_control(wire.Gap(samples=8000 * 60))
        assert session.position == (60_000 + 400) * MS
        assert session.messages_to_send()[-1] == wire.SpeechEnd(segment=0, at_ms=400, reason="gap", seq=2)

    @pytest.mark.parametrize("samples", [0, -1, 10**15])
    def test_impossible_gaps(self, samples: int) -> None:
        session = started()
        session.receive_control(wire.Gap(samples=samples))
        assert error(session) == (ErrorCode.BAD_FIELD, 1007)


class TestEnd:
    def test_stop_waits_for_finals_then_done(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        session.receive_control(wire.Stop())
        assert kinds(session.messages_to_send()) == ["SpeechStart", "SpeechEnd"]
        assert session.close_code is None
        session.receive_hypothesis(0, Said("bye", final=True))
        assert session.messages_to_send()[1:] == [wire.Done(audio_ms=300, segments=1, seq=4)]
        assert session.close_code == 1000

    def test_stop_without_speech(self) -> None:
        session = started()
        session.receive_control(wire.Stop())
        assert session.messages_to_send() == [wire.Done(audio_ms=0, segments=0, seq=1)]

    def test_drain_finishes_the_utterance_and_closes_with_1012(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        session.drain()
        session.receive_audio(speech(300))
        session.receive_control(wire.Commit())
        assert session.work_to_run()[-1] == Finish(0)
        session.receive_hypothesis(0, Said("last words", final=True))
        messages = session.messages_to_send()
        assert finals(messages) == [(0, "last words")]
        last = messages[-1]
        assert isinstance(last, wire.Error)
        assert (last.code, last.audio_ms, session.close_code) == (ErrorCode.RESTARTING, 300, 1012)

    def test_drain_before_start(self) -> None:
        session = new_session()
        session.drain(ErrorCode.IDLE, "no start came")
        assert error(session) == (ErrorCode.IDLE, 1008)

    def test_end_of_file_cancels_everything(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        session.work_to_run()
        session.receive_eof()
        assert session.work_to_run() == [Cancel(0)]
        assert session.close_code == 1000
        session.receive_hypothesis(0, Said("nobody hears", final=True))
        assert session.waiting == 0

    def test_a_fault_tells_which_audio_was_lost(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        session.receive_hypothesis(0, Said("some text", 200 * MS))
        session.receive_hypothesis(0, Said("some text", 300 * MS))
        session.receive_audio(b"odd")
        messages = session.messages_to_send()
        assert kinds(messages) == ["SpeechStart", "SpeechEnd", "Notice", "Final", "Error"]
        notice, final, fault = messages[2:]
        assert isinstance(notice, wire.Notice)
        assert (notice.code, notice.start_ms, notice.end_ms) == (NoticeCode.UNTRANSCRIBED, 0, 300)
        assert isinstance(final, wire.Final)
        assert final.text == "some tex"
        assert isinstance(fault, wire.Error)
        assert (fault.code, session.close_code) == (ErrorCode.BAD_AUDIO, 1003)


class TestFailure:
    def test_of_the_open_segment_ends_it_and_listening_goes_on(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        session.work_to_run()
        session.receive_failure(0, "out of memory")
        session.receive_audio(speech(300))
        session.receive_control(wire.Commit())
        session.receive_hypothesis(1, Said("second", final=True))
        messages = session.messages_to_send()
        assert kinds(messages) == [
            "SpeechStart", "SpeechEnd", "Notice", "Final", "SpeechStart", "SpeechEnd", "Final",
        ]  # fmt: skip
        assert finals(messages) == [(0, ""), (1, "second")]
        ended = messages[1]
        assert isinstance(ended, wire.SpeechEnd)
        assert ended.reason == "failure"
        assert {each.segment for each in session.work_to_run()} == {1}

    def test_of_a_finished_segment(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        session.receive_control(wire.Stop())
        session.receive_failure(0, "out of memory")
        assert kinds(session.messages_to_send()) == ["SpeechStart", "SpeechEnd", "Notice", "Final", "Done"]


class TestLoad:
    def test_a_wider_interval_is_told_and_used(self) -> None:
        session = started()
        session.receive_load(2000)
        (notice,) = session.messages_to_send()
        assert isinstance(notice, wire.Notice)
        assert (notice.code, notice.interval_ms) == (NoticeCode.LAGGING, 2000)
        session.receive_audio(speech(2000))
        assert [each for each in session.work_to_run() if isinstance(each, Update)] == [Update(0, 2000)]

    def test_an_interval_below_the_clients_own_is_not_worth_a_word(self) -> None:
        session = started(start=wire.Start(interval_ms=1000))
        session.receive_load(700)
        assert session.messages_to_send() == []


class TestBounds:
    def test_backpressure_then_backlog_full(self) -> None:
        session = started(SessionOptions(max_backlog_ms=30_000, max_segment_ms=15_000), wire.Start(vad=False))
        for _ in range(15):
            assert session.accepts_audio
            session.receive_audio(speech(1000))
        assert not session.accepts_audio
        for _ in range(16):
            session.receive_audio(speech(1000))
        assert error(session) == (ErrorCode.BACKLOG_FULL, 1013)
        assert session.backlog == 0

    def test_hypotheses_take_the_backlog_down(self) -> None:
        session = started(start=wire.Start(vad=False))
        session.receive_audio(speech(5000))
        session.receive_hypothesis(0, Said("x", 4000 * MS))
        assert session.backlog == 1000 * MS

    def test_many_tiny_segments(self) -> None:
        session = started(SessionOptions(max_waiting=5), wire.Start(vad=False))
        for _ in range(6):
            session.receive_audio(speech(1))
            session.receive_control(wire.Commit())
        messages = session.messages_to_send()
        assert len(finals(messages)) == 6
        assert isinstance(messages[-1], wire.Error)
        assert messages[-1].code == ErrorCode.BACKLOG_FULL

    def test_a_client_that_does_not_read(self) -> None:
        session = started(SessionOptions(max_outbox=16), wire.Start(vad=False))
        for segment in range(9):
            session.receive_audio(speech(10))
            session.receive_control(wire.Commit())
            session.receive_hypothesis(segment, Said("text", final=True))
        assert error(session) == (ErrorCode.SLOW_READER, 1013)

    def test_a_session_that_lasts_too_long_ends_in_good_order(self) -> None:
        session = started(SessionOptions(max_session_s=2), wire.Start(vad=False))
        session.receive_audio(speech(2000))
        session.receive_audio(speech(2000))
        session.receive_hypothesis(0, Said("all of it", final=True))
        messages = session.messages_to_send()
        assert finals(messages) == [(0, "all of it")]
        assert session.close_code == 1008
        assert isinstance(messages[-1], wire.Error)
        assert (messages[-1].code, messages[-1].audio_ms) == (ErrorCode.SESSION_TOO_LONG, 2000)

    def test_a_message_that_is_too_big(self) -> None:
        session = started(SessionOptions(max_message_bytes=1024))
        session.receive_audio(bytes(1026))
        assert error(session) == (ErrorCode.MESSAGE_TOO_BIG, 1009)

    def test_partials_dropped_are_told_once_in_a_while(self) -> None:
        session = started()
        session.receive_audio(speech(1000))
        for count in range(23):
            session.receive_hypothesis(0, Said("word " * count))
        told = [each for each in session.messages_to_send() if isinstance(each, wire.Notice)]
        assert [each.code for each in told] == [NoticeCode.PARTIALS_DROPPED] * 2


class TestResume:
    def lost(self) -> Session:
        session = started(token="t1", start=wire.Start(sample_rate=8000))
        session.receive_audio(speech(1000))
        session.receive_hypothesis(0, Said("so far", 500 * MS))
        session.messages_to_send()
        session.detach()
        return session

    def test_nothing_is_sent_while_detached_and_everything_after(self) -> None:
        session = self.lost()
        session.receive_hypothesis(0, Said("so far so good", 1500 * MS))
        assert session.messages_to_send() == []
        session.reattach(wire.Start(sample_rate=8000, resume="t1", received=1))
        ready, partial = session.messages_to_send()
        assert isinstance(ready, wire.Ready)
        assert ready.audio_samples == 16_000
        assert isinstance(partial, wire.Partial)
        assert partial.committed + partial.tentative == "so far so good"

    def test_messages_that_did_not_arrive_are_sent_again(self) -> None:
        session = self.lost()
        session.reattach(wire.Start(sample_rate=8000, resume="t1", received=0))
        assert kinds(session.messages_to_send()) == ["Ready", "SpeechStart", "Partial"]

    def test_audio_goes_on_where_it_was(self) -> None:
        session = self.lost()
        session.reattach(wire.Start(sample_rate=8000, resume="t1", received=1))
        session.receive_audio(speech(100))
        session.receive_control(wire.Stop())
        session.receive_hypothesis(0, Said("all", final=True))
        final = session.messages_to_send()[-2]
        assert isinstance(final, wire.Final)
        assert (final.start_ms, final.end_ms, final.seq) == (0, 2200, 3)

    def test_a_client_that_said_stop_learns_that_it_arrived(self) -> None:
        session = self.lost()
        session.reattach(wire.Start(sample_rate=8000, resume="t1", received=1))
        (ready, _) = session.messages_to_send()
        assert isinstance(ready, wire.Ready)
        assert not ready.stopped
        session.receive_control(wire.Stop())
        session.reattach(wire.Start(sample_rate=8000, resume="t1", received=2))
        ready = session.messages_to_send()[0]
        assert isinstance(ready, wire.Ready)
        assert ready.stopped

    def test_finals_that_came_while_away_survive_and_done_too(self) -> None:
        session = started(token="t1")
        session.receive_audio(speech(1000))
        session.receive_control(wire.Stop())
        session.messages_to_send()
        session.detach()
        session.receive_hypothesis(0, Said("here you are", final=True))
        assert session.close_code == 1000
        session.reattach(wire.Start(resume="t1", received=2))
        messages = session.messages_to_send()
        assert kinds(messages) == ["Ready", "Final", "Done"]
        assert [each.seq for each in messages if isinstance(each, wire.Final | wire.Done)] == [3, 4]

    def test_coming_back_twice(self) -> None:
        session = self.lost()
        for _ in range(2):
            session.reattach(wire.Start(sample_rate=8000, resume="t1", received=0))
        assert kinds(session.messages_to_send()) == ["Ready", "SpeechStart", "Partial"]
        session.reattach(wire.Start(sample_rate=8000, resume="t1", received=0))
        assert kinds(session.messages_to_send()) == ["Ready", "SpeechStart", "Partial"]

    @pytest.mark.parametrize(
        ("start", "code"),
        [
            (wire.Start(sample_rate=16_000, received=1), ErrorCode.BAD_FIELD),
            (wire.Start(sample_rate=8000, received=7), ErrorCode.BAD_FIELD),
            (wire.Start(sample_rate=8000, received=-1), ErrorCode.BAD_FIELD),
        ],
    )
    def test_refused(self, start: wire.Start, code: ErrorCode) -> None:
        session = self.lost()
        with pytest.raises(ProtocolError) as fault:
            session.reattach(start)
        assert fault.value.code == code
        assert session.messages_to_send() == []
        session.reattach(wire.Start(sample_rate=8000, received=1))

    def test_messages_too_old_to_be_kept(self) -> None:
        session = started(SessionOptions(max_retained=16), token="t1", start=wire.Start(vad=False))
        for segment in range(10):
            session.receive_audio(speech(10))
            session.receive_control(wire.Commit())
            session.receive_hypothesis(segment, Said("text", final=True))
            session.messages_to_send()
        session.detach()
        with pytest.raises(ProtocolError) as fault:
            session.reattach(wire.Start(vad=False, received=3))
        assert fault.value.code == ErrorCode.RESUME_LOST
        session.reattach(wire.Start(vad=False, received=14))
        assert len(session.messages_to_send()) == 17

    def test_only_a_started_session_with_a_token_can_be_resumed(self) -> None:
        assert not new_session(token="t1").resumable
        assert not started().resumable
        assert started(token="t1").resumable


class TestReconfigure:
    def test_a_language_counts_from_the_next_segment(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        session.reconfigure(wire.Start(language="de"), OPTIONS)
        session.receive_audio(speech(200))
        session.receive_control(wire.Commit())
        session.receive_audio(speech(300))
        opened = [each for each in session.work_to_run() if isinstance(each, OpenStream)]
        assert [each.language for each in opened] == [None, "German"]

    def test_a_new_format_ends_the_open_segment_and_time_goes_on(self) -> None:
        session = started(start=wire.Start(vad=False))
        session.receive_audio(speech(300))
        session.reconfigure(wire.Start(vad=False, sample_rate=8000, encoding="mulaw"), OPTIONS)
        session.receive_audio(b"\x10" * 8 * 200)
        session.receive_control(wire.Commit())
        told = session.messages_to_send()
        borders = [each for each in told if isinstance(each, wire.SpeechStart | wire.SpeechEnd)]
        assert [(type(each).__name__, each.at_ms) for each in borders] == [
            ("SpeechStart", 0),
            ("SpeechEnd", 300),
            ("SpeechStart", 300),
            ("SpeechEnd", 500),
        ]
        fed = [each for each in session.work_to_run() if isinstance(each, FeedAudio)]
        assert [sum(len(each.samples) for each in fed if each.segment == n) for n in (0, 1)] == [300 * MS, 200 * MS]

    def test_without_a_vad_from_here_on(self) -> None:
        session = started()
        session.receive_audio(silence(500))
        session.reconfigure(wire.Start(vad=False), OPTIONS)
        session.receive_audio(silence(100))
        (start,) = session.messages_to_send()
        assert isinstance(start, wire.SpeechStart)
        assert start.at_ms == 500

    def test_a_refusal_changes_nothing(self) -> None:
        session = started()
        session.receive_audio(speech(300))
        with pytest.raises(ProtocolError, match="Klingon"):
            session.reconfigure(wire.Start(language="Klingon"), OPTIONS)
        with pytest.raises(ProtocolError, match="11025"):
            session.reconfigure(wire.Start(sample_rate=11025), OPTIONS)
        session.receive_audio(speech(100))
        assert kinds(session.messages_to_send()) == ["SpeechStart"]
        assert session.close_code is None


class TestLogprobs:
    HEARD = Said(
        "hi yes", 3200, final=True, token_ids=(1, 2, 3, 4), token_ends=(0, 2, 2, 6), logprobs=(-0.1, -0.2, -0.3, -0.4)
    )

    @pytest.mark.parametrize("asked", [True, False])
    def test_tokens_without_the_language_tag_where_asked(self, asked: bool) -> None:
        session = started(start=wire.Start(vad=False, logprobs=asked))
        session.receive_audio(speech(200))
        session.receive_control(wire.Commit())
        session.receive_hypothesis(0, self.HEARD)
        final = session.messages_to_send()[-1]
        assert isinstance(final, wire.Final)
        tokens = (
            wire.Token(text="hi", logprob=-0.2),
            wire.Token(text="", logprob=-0.3),
            wire.Token(text=" yes", logprob=-0.4),
        )
        assert final.tokens == (tokens if asked else None)


def held_bytes(root: object) -> int:
    """Memory of all objects that can be reached from `root`, but for code and types."""
    seen: dict[int, object] = {}
    found = [root]
    while found:
        each = found.pop()
        if id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType | BuiltinFunctionType):
            seen[id(each)] = each
            found += gc.get_referents(each)
    return sum(sys.getsizeof(each) for each in seen.values())


def test_an_hour_leaves_nothing_behind() -> None:
    session = started(token="t1", start=wire.Start(interval_ms=1000))
    utterance, pause = speech(3000), silence(1000)

    def talk(minutes: int) -> int:
        """Returns the bytes that are held afterwards."""
        for _ in range(15 * minutes):
            for message in (utterance, pause):
                session.receive_audio(message)
                for work in session.work_to_run():
                    if isinstance(work, Update | Finish):
                        said = Said("word " * 9, 48_000, final=isinstance(work, Finish))
                        session.receive_hypothesis(work.segment, said)
                assert len(session.messages_to_send()) <= 6
        return held_bytes(session)

    early, late = talk(minutes=10), talk(minutes=50)
    assert 50_000 < early < 500_000
    assert abs(late - early) < 5000
    assert session.waiting == session.backlog == 0
    assert session.position == 3600 * 1000 * MS
