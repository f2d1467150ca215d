"""What the VAD did not hear before a client's commit."""

import numpy as np

from steno.streaming.config import SessionOptions
from steno.streaming.protocol import Start
from steno.streaming.session import Session
from steno.streaming.unheard_audio import LONGEST_BYTES, UnheardAudio, has_speech
from steno.streaming.work import FeedAudio, Finish, OpenStream
from tests.audio_clips import recording
from tests.live import pcm
from tests.scripted import LevelVad

OPTIONS = SessionOptions()
SPEECH = recording("coffee_order")
QUIET = pcm(SPEECH * np.float32(0.02))


def started() -> Session:
    session = Session(OPTIONS, session_id="s", model="m", new_vad=lambda _: LevelVad(2.0))
    session.receive_control(Start())
    return session


def test_speech_is_speech_at_any_level() -> None:
    for gain in (1.0, 0.1, 0.01):
        assert has_speech(SPEECH * np.float32(gain), OPTIONS)


def test_silence_and_a_hum_are_not() -> None:
    hum = np.sin(np.arange(48_000) * 0.02).astype(np.float32)
    for sound in (np.zeros(48_000, np.float32), hum * np.float32(0.01), np.zeros(0, np.float32)):
        assert not has_speech(sound, OPTIONS)


def test_what_was_not_heard_becomes_one_segment() -> None:
    session, unheard = started(), UnheardAudio()
    session.receive_audio(QUIET)
    unheard.add(QUIET)
    assert session.work_to_run() == []
    unheard.hand_over(session, Start(), OPTIONS)
    work = session.work_to_run()
    assert isinstance(work[0], OpenStream)
    assert isinstance(work[-1], Finish)
    fed = np.concatenate([each.samples for each in work if isinstance(each, FeedAudio)])
    assert np.abs(fed - SPEECH * np.float32(0.02)).max() < 1e-4
    unheard.hand_over(session, Start(), OPTIONS)
    assert session.work_to_run() == [], "it is handed over once"
    session.receive_audio(QUIET)
    assert session.work_to_run() == [], "the VAD is on again"


def test_nothing_is_kept_once_the_vad_hears() -> None:
    session, unheard = started(), UnheardAudio()
    unheard.add(QUIET)
    unheard.heard()
    unheard.add(QUIET)
    unheard.hand_over(session, Start(), OPTIONS)
    assert session.work_to_run() == []
    unheard.add(QUIET)
    unheard.hand_over(session, Start(), OPTIONS)
    assert session.work_to_run(), "the next turn is a new one"


def test_what_is_kept_is_bounded() -> None:
    session, unheard = started(), UnheardAudio()
    for _ in range(12):
        unheard.add(QUIET)
    unheard.hand_over(session, Start(), OPTIONS)
    assert session.close_code is None
    assert session.position == LONGEST_BYTES // 2
