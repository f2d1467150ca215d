"""Segments from samples: where they begin and end, exact clocks, cuts near the limit, any packet borders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno.streaming.chunker import Chunker, ChunkerEvent, SegmentAudio, SegmentEnd, SegmentPause, SegmentStart
from steno.streaming.config import SessionOptions
from steno.streaming.vad import FRAME
from steno.streaming.work import Samples
from tests.scripted import LevelVad, ScriptedVad

MS = 16
OPTIONS = SessionOptions(pre_roll_ms=200, post_roll_ms=100, min_speech_ms=60, endpoint_ms=400)


def level(value: float, ms: int) -> Samples:
    """A square wave of the amplitude, so that each frame has exactly this level."""
    return np.where(np.arange(ms * MS) % 2 == 0, value, -value).astype(np.float32)


def speech(ms: int) -> Samples:
    return level(0.5, ms)


def silence(ms: int) -> Samples:
    return level(0.001, ms)


def outline(events: list[ChunkerEvent]) -> list[tuple[str, int] | tuple[str, int, str]]:
    """Starts, pauses and ends in ms."""
    lines: list[tuple[str, int] | tuple[str, int, str]] = []
    for event in events:
        match event:
            case SegmentStart(at):
                lines.append(("start", at // MS))
            case SegmentPause(at):
                lines.append(("pause", at // MS))
            case SegmentEnd(at, reason):
                lines.append(("end", at // MS, reason))
            case SegmentAudio():
                pass
    return lines


def segments(events: list[ChunkerEvent]) -> list[tuple[int, Samples, int, str]]:
    """Each ended segment as (start, samples, end, reason), after checking that its audio has no holes."""
    found: list[tuple[int, Samples, int, str]] = []
    start, pieces, position = -1, [], 0
    for event in events:
        match event:
            case SegmentStart(at):
                assert start == -1
                assert at >= position, "segments overlap"
                start, pieces, position = at, [np.zeros(0, np.float32)], at
            case SegmentAudio(at, samples):
                assert start >= 0
                assert at == position
                assert len(samples) > 0
                pieces.append(samples)
                position += len(samples)
            case SegmentEnd(at, reason):
                assert start >= 0
                assert at == position or reason == "clear"
                found.append((start, np.concatenate(pieces), at, reason))
                start, position = -1, at
            case SegmentPause(at):
                assert at == position
    assert start == -1
    return found


def test_pre_roll_post_roll_and_endpoint() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    events = chunker.push(np.concatenate((silence(1000), speech(600), silence(1000))))
    assert outline(events) == [("start", 800), ("pause", 1700), ("end", 1700, "endpoint")]
    ((start, audio, end, _),) = segments(events)
    assert len(audio) == end - start
    assert not chunker.open


def test_the_start_is_known_after_minimum_speech_and_the_end_after_the_endpoint() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    when = []
    for index, frame in enumerate(np.concatenate((silence(400), speech(200), silence(600))).reshape(-1, FRAME)):
        when += [(type(event).__name__, (index + 1) * 20) for event in chunker.push(frame)]
    names = [name for name, _ in when]
    assert when[names.index("SegmentStart")] == ("SegmentStart", 460)
    assert when[names.index("SegmentPause")] == ("SegmentPause", 720)
    assert when[names.index("SegmentEnd")] == ("SegmentEnd", 1000)


def test_pre_roll_reaches_back_to_the_beginning_of_the_stream_at_most() -> None:
    events = Chunker(OPTIONS, LevelVad()).push(speech(300))
    assert outline(events) == [("start", 0)]


def test_too_little_speech_opens_nothing() -> None:
    click = np.concatenate((silence(500), speech(40), silence(500)))
    assert Chunker(OPTIONS, LevelVad()).push(np.tile(click, 5)) == []


def test_speech_with_holes_opens_a_segment() -> None:
    pieces = [speech(20), silence(20)] * 3
    assert outline(Chunker(OPTIONS, LevelVad()).push(np.concatenate((silence(400), *pieces)))) == [("start", 200)]


def test_a_pause_shorter_than_the_endpoint_loses_no_audio() -> None:
    stream = np.concatenate((speech(300), silence(380), speech(300), silence(500)))
    events = Chunker(OPTIONS, LevelVad()).push(stream)
    assert outline(events) == [("start", 0), ("pause", 400), ("pause", 1080), ("end", 1080, "endpoint")]
    ((_, audio, _, _),) = segments(events)
    assert np.array_equal(audio, stream[: len(audio)])


def test_pre_roll_does_not_reach_into_the_segment_before() -> None:
    options = SessionOptions(pre_roll_ms=2000, post_roll_ms=100, min_speech_ms=60, endpoint_ms=200)
    events = Chunker(options, LevelVad()).push(np.concatenate((speech(300), silence(300), speech(300), silence(400))))
    assert [(start // MS, end // MS) for start, _, end, _ in segments(events)] == [(0, 400), (400, 1000)]


def test_commit_ends_at_the_last_sample_heard_and_speech_goes_on_in_the_next_segment() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    stream = speech(605)
    events = chunker.push(stream) + chunker.commit() + chunker.push(speech(300)) + chunker.commit("stop")
    assert [(start, end, reason) for start, _, end, reason in segments(events)] == [
        (0, 605 * MS, "commit"),
        (605 * MS, 905 * MS, "stop"),
    ]


def test_commit_hands_out_held_silence() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    events = chunker.push(np.concatenate((speech(300), silence(250)))) + chunker.commit()
    assert outline(events)[-1] == ("end", 550, "commit")


def test_commit_without_a_segment_does_nothing() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    assert chunker.push(np.concatenate((silence(600), speech(40)))) + chunker.commit() == []
    assert outline(chunker.push(speech(60))) == [("start", 400)]


def test_clear_drops_what_was_not_handed_out() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    chunker.push(np.concatenate((speech(300), silence(300))))
    assert outline(chunker.clear()) == [("end", 600, "clear")]
    assert chunker.clear() == []
    assert outline(chunker.push(np.concatenate((silence(20), speech(100))))) == [("start", 600)]


def test_a_long_gap_ends_the_segment_and_moves_the_clock() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    events = chunker.push(speech(305)) + chunker.gap(5000 * MS) + chunker.push(speech(300)) + chunker.commit()
    assert chunker.position == 5605 * MS
    assert outline(events) == [("start", 0), ("end", 305, "gap"), ("start", 5305), ("end", 5605, "commit")]


def test_a_short_gap_is_heard_as_silence() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    events = chunker.push(speech(300)) + chunker.gap(100 * MS) + chunker.push(speech(300)) + chunker.commit()
    ((start, audio, end, _),) = segments(events)
    assert (start, end) == (0, 700 * MS)
    assert not audio[300 * MS : 400 * MS].any()


def test_a_gap_while_nobody_speaks() -> None:
    chunker = Chunker(OPTIONS, LevelVad())
    assert chunker.push(silence(990)) + chunker.gap(1000 * MS) == []
    assert outline(chunker.push(speech(100))) == [("start", 1990)]


class TestWithoutVad:
    def test_begins_with_the_first_sample_and_ends_with_the_commit(self) -> None:
        chunker = Chunker(OPTIONS, None)
        events = chunker.push(silence(1000)) + chunker.commit() + chunker.push(silence(35)) + chunker.commit()
        assert [(start, end, reason) for start, _, end, reason in segments(events)] == [
            (0, 1000 * MS, "commit"),
            (1000 * MS, 1035 * MS, "commit"),
        ]

    def test_less_than_a_frame_is_a_segment_too(self) -> None:
        chunker = Chunker(OPTIONS, None)
        assert chunker.push(silence(3)) == []
        assert outline(chunker.commit()) == [("start", 0), ("end", 3, "commit")]
        assert chunker.commit() == []

    def test_the_limit_holds(self) -> None:
        chunker = Chunker(SessionOptions(max_segment_ms=5000, cut_search_ms=1000), None)
        found = segments(chunker.push(speech(60_000)) + chunker.commit())
        assert all(len(audio) <= 5000 * MS for _, audio, _, _ in found)
        assert sum(len(audio) for _, audio, _, _ in found) == 60_000 * MS


class TestNearTheLimit:
    OPTIONS = SessionOptions(max_segment_ms=10_000, cut_search_ms=3000, endpoint_ms=1000)

    def test_cuts_at_the_quietest_point(self) -> None:
        stream = speech(14_000)
        stream[8200 * MS : 8400 * MS] *= 0.5
        stream[9000 * MS : 9200 * MS] *= 0.3
        events = Chunker(self.OPTIONS, LevelVad()).push(stream)
        ends = [event for event in events if isinstance(event, SegmentEnd)]
        assert [(round(each.at / MS), each.reason) for each in ends] == [(9050, "limit")]
        assert outline(events)[-1] == ("start", 9050)

    def test_audio_before_the_cut_goes_out_while_a_better_point_is_looked_for(self) -> None:
        stream = speech(9900)
        stream[8200 * MS : 8400 * MS] *= 0.5
        handed = sum(
            len(each.samples)
            for each in Chunker(self.OPTIONS, LevelVad()).push(stream)
            if isinstance(each, SegmentAudio)
        )
        assert handed == 8250 * MS

    def test_without_any_quiet_point_the_limit_cuts(self) -> None:
        found = segments((chunker := Chunker(self.OPTIONS, LevelVad())).push(speech(25_000)) + chunker.commit())
        assert all(len(audio) <= 10_000 * MS for _, audio, _, _ in found)
        assert [start for start, _, _, _ in found][1:] == [end for _, _, end, _ in found][:-1]

    def test_a_pause_ends_the_segment_at_once(self) -> None:
        stream = np.concatenate((speech(7500), silence(300), speech(2000)))
        events = Chunker(self.OPTIONS, LevelVad()).push(stream)
        assert outline(events) == [("start", 0), ("end", 7600, "limit"), ("start", 7600)]

    def test_a_quiet_moment_that_the_vad_calls_speech_is_taken_at_once(self) -> None:
        stream = speech(9000)
        stream[7500 * MS : 7700 * MS] *= 0.01
        events = Chunker(self.OPTIONS, ScriptedVad([True] * 1000)).push(stream)
        ((_, end, reason),) = [each for each in outline(events) if len(each) == 3]
        assert (end, reason) == (7550, "limit")

    def test_partial_audio_goes_out_frame_by_frame_before_the_search(self) -> None:
        chunker = Chunker(self.OPTIONS, LevelVad())
        chunker.push(speech(1000))
        assert [len(each.samples) for each in chunker.push(speech(20)) if isinstance(each, SegmentAudio)] == [FRAME]


def take_apart(stream: Samples, cuts: list[int], chunker: Chunker) -> list[ChunkerEvent]:
    events: list[ChunkerEvent] = []
    position = 0
    for cut in cuts:
        events += chunker.push(stream[position : position + cut])
        position += cut
    return events + chunker.push(stream[position:]) + chunker.commit("stop")


PIECES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.04, 0.3, 0.8]), st.integers(5, 2500)), min_size=1, max_size=14
)


@pytest.mark.parametrize("with_vad", [True, False])
@settings(deadline=None, max_examples=60)
@given(pieces=PIECES, cuts=st.lists(st.integers(0, 40_000), max_size=30))
def test_random_cuts_change_nothing(with_vad: bool, pieces: list[tuple[float, int]], cuts: list[int]) -> None:
    options = SessionOptions(max_segment_ms=5000, cut_search_ms=2000, endpoint_ms=300)
    stream = np.concatenate([level(value, ms) for value, ms in pieces])
    whole = take_apart(stream, [], Chunker(options, LevelVad() if with_vad else None))
    pieced = take_apart(stream, cuts, Chunker(options, LevelVad() if with_vad else None))
    assert outline(pieced) == outline(whole)
    expected, found = segments(whole), segments(pieced)
    assert [(each[0], each[2:]) for each in found] == [(each[0], each[2:]) for each in expected]
    for (start, audio, end, _), (_, again, _, _) in zip(expected, found, strict=True):
        assert np.array_equal(audio, stream[start:end])
        assert np.array_equal(again, audio)
        assert len(audio) <= 5000 * MS
    if not with_vad:
        assert sum(len(each[1]) for each in found) == len(stream)


@settings(deadline=None, max_examples=40)
@given(pieces=PIECES)
def test_all_speech_is_in_some_segment(pieces: list[tuple[float, int]]) -> None:
    options = SessionOptions(max_segment_ms=5000, cut_search_ms=2000, endpoint_ms=300, min_speech_ms=20)
    stream = np.concatenate([level(value, ms // 20 * 20) for value, ms in pieces] + [silence(400)])
    inside = np.zeros(len(stream), bool)
    for start, _, end, _ in segments(take_apart(stream, [], Chunker(options, LevelVad()))):
        inside[start:end] = True
    loud = np.asarray(np.abs(stream).reshape(-1, FRAME).mean(axis=1)) > 0.05
    assert not (loud & ~np.all(inside.reshape(-1, FRAME), axis=1)).any()


def test_memory_stays_flat_through_silence_and_speech() -> None:
    chunker = Chunker(SessionOptions(), LevelVad())
    kept = 0
    for _ in range(40):
        chunker.push(silence(20_000))
        chunker.push(speech(9000))
        kept = max(kept, len(chunker._audio))
    assert kept < 8 * 16_000
    assert chunker.position == 40 * 29_000 * MS
