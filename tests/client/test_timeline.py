"""Numbers and times stay those of the whole recording when a session is begun anew."""

from steno.client.timeline import Timeline
from steno.streaming.protocol import (
    Done,
    Final,
    Notice,
    NoticeCode,
    Partial,
    ServerMessage,
    SpeechEnd,
    SpeechStart,
    Word,
)

MESSAGES: tuple[ServerMessage, ...] = (
    SpeechStart(segment=0, at_ms=100, seq=1),
    Partial(segment=0, revision=1, committed="a", tentative="b", start_ms=100, end_ms=400),
    SpeechEnd(segment=0, at_ms=900, reason="endpoint", seq=2),
    Final(
        segment=0,
        text="ab",
        start_ms=100,
        end_ms=900,
        words=(Word(text="ab", start_ms=150, end_ms=300),),
        seq=3,
    ),
    Notice(code=NoticeCode.UNTRANSCRIBED, message="", segment=0, start_ms=900, end_ms=950, seq=4),
    Notice(code=NoticeCode.LAGGING, message="", interval_ms=900, seq=5),
    Done(audio_ms=1000, segments=1, seq=6),
)


def test_the_first_session_passes_unchanged() -> None:
    timeline = Timeline(16_000)
    assert [timeline.translate(message) for message in MESSAGES] == list(MESSAGES)
    assert timeline.transcribed_samples == 900 * 16


def test_a_session_begun_anew_goes_on_counting() -> None:
    timeline = Timeline(8_000)
    for message in MESSAGES[:5]:
        timeline.translate(message)
    timeline.begin_anew(timeline.transcribed_samples)
    assert timeline.origin == 7200
    assert [timeline.translate(message) for message in MESSAGES] == [
        SpeechStart(segment=1, at_ms=1000, seq=1),
        Partial(segment=1, revision=1, committed="a", tentative="b", start_ms=1000, end_ms=1300),
        SpeechEnd(segment=1, at_ms=1800, reason="endpoint", seq=2),
        Final(
            segment=1,
            text="ab",
            start_ms=1000,
            end_ms=1800,
            words=(Word(text="ab", start_ms=1050, end_ms=1200),),
            seq=3,
        ),
        Notice(code=NoticeCode.UNTRANSCRIBED, message="", segment=1, start_ms=1800, end_ms=1850, seq=4),
        Notice(code=NoticeCode.LAGGING, message="", interval_ms=900, seq=5),
        Done(audio_ms=1900, segments=2, seq=6),
    ]
    assert timeline.transcribed_samples == 7200 + 7200


def test_a_segment_without_final_keeps_its_number_in_the_new_session() -> None:
    timeline = Timeline(16_000)
    for message in MESSAGES[:4]:
        timeline.translate(message)
    timeline.translate(SpeechStart(segment=1, at_ms=2000))
    timeline.begin_anew(timeline.transcribed_samples)
    assert timeline.translate(SpeechStart(segment=0, at_ms=1100)) == SpeechStart(segment=1, at_ms=2000)


def test_what_the_server_has_dealt_with_is_not_said_again() -> None:
    timeline = Timeline(16_000)
    for message in MESSAGES[:4]:
        timeline.translate(message)
    timeline.settle(1500)
    assert timeline.transcribed_samples == 1500 * 16


def test_only_unfinished_speech_counts_as_missing() -> None:
    """A new session that starts late skips silence without a word, but tells of speech that it cannot get."""
    timeline = Timeline(1000)
    for message in MESSAGES[:4]:
        timeline.translate(message)
    assert timeline.begin_anew(60_000) == 0
    timeline.translate(SpeechStart(segment=0, at_ms=5000))
    assert timeline.begin_anew(70_000) == 5000
    assert timeline.begin_anew(80_000) == 0
