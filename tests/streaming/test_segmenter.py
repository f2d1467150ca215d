"""Bytes to segments on one clock, at rates where the resampler holds some sound back."""

import numpy as np
import pytest

from steno.streaming.chunker import ChunkerEvent, SegmentAudio, SegmentEnd, SegmentStart
from steno.streaming.config import SessionOptions
from steno.streaming.protocol import ErrorCode, ProtocolError, Start
from steno.streaming.segmenter import Segmenter
from tests.scripted import LevelVad

OPTIONS = SessionOptions(max_session_s=60)


def segmenter(start: Start) -> Segmenter:
    return Segmenter(start, OPTIONS, lambda _: LevelVad())


def loud(rate: int, ms: int) -> bytes:
    return (9000 * np.sin(np.arange(rate * ms // 1000) * 2 * np.pi * 300 / rate)).astype("<i2").tobytes()


def borders(events: list[ChunkerEvent]) -> list[int]:
    return [each.at for each in events if isinstance(each, SegmentStart | SegmentEnd)]


def handed_out(events: list[ChunkerEvent]) -> int:
    return sum(len(each.samples) for each in events if isinstance(each, SegmentAudio))


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100, 48_000])
def test_commits_and_gaps_stand_at_exact_positions(rate: int) -> None:
    source = segmenter(Start(sample_rate=rate, vad=False))
    events = source.hear(loud(rate, 500)) + source.commit("commit") + source.gap(2 * rate)
    events += source.hear(loud(rate, 250)) + source.commit("stop")
    assert borders(events) == [0, 8000, 40_000, 44_000]
    assert handed_out(events) == 12_000
    assert source.position == 44_000
    assert source.samples_received == rate * 11 // 4
    assert not source.open


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_clear_forgets_what_the_resampler_holds_too(rate: int) -> None:
    source = segmenter(Start(sample_rate=rate, vad=False))
    source.hear(loud(rate, 500))
    assert borders(source.clear()) == [8000]
    assert source.commit("stop") == []


@pytest.mark.parametrize("samples", [0, -5, 60 * 8000 + 1])
def test_gaps_out_of_bounds(samples: int) -> None:
    source = segmenter(Start(sample_rate=8000))
    with pytest.raises(ProtocolError, match=f"samples is {samples}") as fault:
        source.gap(samples)
    assert fault.value.code == ErrorCode.BAD_FIELD
    assert source.position == 0


def test_begins_where_it_is_told() -> None:
    source = Segmenter(Start(vad=False), OPTIONS, lambda _: LevelVad(), at=1000)
    assert borders(source.hear(loud(16_000, 20)) + source.commit("commit")) == [1000, 1320]


def test_fits_what_it_was_made_for() -> None:
    source = segmenter(Start())
    assert source.fits(Start(language="de", interval_ms=300), SessionOptions(context="names", max_session_s=60))
    assert not source.fits(Start(vad=False), OPTIONS)
    assert not source.fits(Start(encoding="alaw"), OPTIONS)
    assert not source.fits(Start(), SessionOptions(endpoint_ms=300))
