"""The server bench: what it makes of messages, what it calls equal, and one unpaced session of real speech."""

from pathlib import Path

import numpy as np
import pytest

from scripts.bench_server import SAMPLE_RATE, Heard, Listener, Playback, compare, percentiles_ms, play, tracks_of
from steno.streaming.config import ServerOptions
from steno.streaming.protocol import Done, Error, ErrorCode, Final, Partial, SpeechEnd, SpeechStart
from tests.live import in_loop, live_server

CLIPS = Path(__file__).parents[2] / "models" / "tiny" / "samples"


def test_latencies_are_by_the_clock_of_the_speaker() -> None:
    """The session began at 100 s; the segment lies from 1 s to 3 s of it."""
    listener = Listener(100.0)
    listener.receive(SpeechStart(segment=0, at_ms=1000), 101.2)
    listener.receive(Partial(segment=0, revision=1, committed="", tentative="", start_ms=1000, end_ms=1500), 101.6)
    listener.receive(Partial(segment=0, revision=2, committed="", tentative="a", start_ms=1000, end_ms=2000), 102.3)
    listener.receive(SpeechEnd(segment=0, at_ms=3000, reason="endpoint"), 103.6)
    listener.receive(Final(segment=0, text="a b", start_ms=1000, end_ms=3000), 103.7)
    assert not listener.over
    listener.receive(Done(audio_ms=5000, segments=1), 106.0)
    assert listener.over
    heard = listener.playback
    assert heard.partial_lag == pytest.approx([0.1, 0.3])
    assert heard.first_partial == pytest.approx([1.3]), "the first with text"
    assert heard.final_after_speech == pytest.approx([0.7])
    assert heard.final_after_endpoint == pytest.approx([0.1])
    assert heard.finals == [Heard("a b", 1000, 3000)]


def test_an_error_ends_the_session_and_is_kept() -> None:
    listener = Listener(0.0)
    listener.receive(Error(code=ErrorCode.FULL, message="no room"), 1.0)
    assert listener.over
    assert listener.playback.error == "full: no room"


def test_finals_are_compared_with_their_own_track() -> None:
    one, two, other = Heard("one", 0, 1), Heard("two", 0, 1), Heard("other", 0, 1)
    references = [Playback(finals=[one, two]), Playback(finals=[two])]
    good = [Playback(finals=[one, two]), Playback(finals=[two]), Playback(finals=[one, two])]
    assert compare(good, references) == {
        "finals": 5, "expected": 5, "equal": 5, "sessions_equal": 3, "differing": [], "words": 5,
    }  # fmt: skip
    bad = compare([Playback(finals=[one, other]), Playback(finals=[])], references)
    assert (bad["finals"], bad["expected"], bad["equal"], bad["sessions_equal"]) == (2, 3, 1, 0)
    assert bad["differing"] == [{"session": 0, "first": [str(other), str(two)]}, {"session": 1, "first": None}]


def test_percentiles() -> None:
    assert percentiles_ms([]) == {"count": 0}
    found = percentiles_ms([0.001 * value for value in range(101)])
    assert found == {"count": 101, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_tracks_are_of_the_wanted_length_and_differ(tmp_path: Path) -> None:
    tracks = tracks_of(CLIPS, 3, 20.0, seed=1)
    assert {len(track) for track in tracks} == {20 * SAMPLE_RATE}
    assert not np.array_equal(tracks[0], tracks[1])
    assert all(np.array_equal(a, b) for a, b in zip(tracks, tracks_of(CLIPS, 3, 20.0, seed=1), strict=True))
    with pytest.raises(ValueError, match="has no audio"):
        tracks_of(tmp_path, 1, 1.0, seed=1)


@in_loop
async def test_a_session_of_real_speech_is_the_same_twice() -> None:
    (track,) = tracks_of(CLIPS, 1, 15.0, seed=2)
    async with live_server(server=ServerOptions(max_ahead_ms=0)) as live:
        url = live.url()
        first, second = [await play(url, track, packet_ms=40, start_after_s=0.0, paced=False) for _ in range(2)]
    assert first.error is None
    assert len(first.finals) >= 2
    assert first.finals == second.finals
    assert len(first.final_after_endpoint) == len(first.finals)
