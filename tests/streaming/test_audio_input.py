"""Bytes to samples: every format, no trace of message borders, an exact clock, refusals with their codes."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from steno.streaming.audio_input import CHANNELS, ENCODINGS, SAMPLE_RATES, AudioInput
from steno.streaming.protocol import ErrorCode, ProtocolError
from steno.streaming.work import Samples


def sweep(rate: int, seconds: float = 1.0) -> Samples:
    """A tone that rises from 100 Hz to 3 kHz, at half of full scale."""
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * (100 * time + 1450 * time**2 / seconds))).astype(np.float32)


def encoded(samples: Samples, encoding: str, channels: int) -> bytes:
    """The client's side, written from G.711's definition and not from the decoder's tables."""
    frames = np.repeat(samples, channels)
    if encoding == "pcm_f32le":
        return frames.astype("<f4").tobytes()
    if encoding == "pcm_s16le":
        return np.round(frames * 32767).astype("<i2").tobytes()
    compress = {"mulaw": mulaw, "alaw": alaw}[encoding]
    return bytes(compress(round(float(each) * 32767)) for each in frames)


def mulaw(value: int) -> int:
    sign, magnitude = (0x80, -value) if value < 0 else (0, value)
    biased = min(magnitude, 32635) + 132
    exponent = biased.bit_length() - 8
    return ~(sign | exponent << 4 | biased >> (exponent + 3) & 15) & 0xFF


def alaw(value: int) -> int:
    sign, magnitude = (0, -value - 1) if value < 0 else (0x80, value)
    exponent = max(magnitude.bit_length() - 8, 0)
    mantissa = magnitude >> (exponent + 3 if exponent else 4) & 15
    return (sign | exponent << 4 | mantissa) ^ 0x55


def decoded(source: AudioInput, *pcm: bytes) -> Samples:
    return np.concatenate([*(source.decode(each) for each in pcm), source.flush()])


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_every_format_gives_the_same_sound(rate: int, encoding: str, channels: int) -> None:
    source = AudioInput(sample_rate=rate, encoding=encoding, channels=channels)
    heard = decoded(source, encoded(sweep(rate), encoding, channels))
    error = heard[200:-200] - sweep(16_000)[200:-200]
    tolerance = {"pcm_f32le": 2e-3, "pcm_s16le": 2e-3, "mulaw": 2.5e-2, "alaw": 2.5e-2}[encoding]
    assert len(heard) == 16_000
    assert np.abs(error).max() < tolerance


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 3000), max_size=20))
def test_message_borders_leave_no_trace(rate: int, cuts: list[int]) -> None:
    samples = sweep(rate, 0.7)
    pcm = encoded(samples, "pcm_s16le", 2)
    borders = [0, *np.minimum(np.cumsum(cuts, dtype=int) * 4, len(pcm)).tolist(), len(pcm)]
    pieces = [pcm[start:end] for start, end in zip(borders, borders[1:], strict=False)]
    whole = decoded(AudioInput(sample_rate=rate, encoding="pcm_s16le", channels=2), pcm)
    source = AudioInput(sample_rate=rate, encoding="pcm_s16le", channels=2)
    assert np.array_equal(decoded(source, *pieces), whole)
    assert source.samples_received == len(samples)


def test_the_stream_equals_one_whole_conversion() -> None:
    samples = sweep(44_100)
    source = AudioInput(sample_rate=44_100, encoding="pcm_f32le", channels=1)
    messages = [samples[index : index + 882].tobytes() for index in range(0, len(samples), 882)]
    assert np.array_equal(decoded(source, *messages), soxr.resample(samples, 44_100, 16_000, quality="HQ"))


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_the_clock_is_exact_over_many_flushes_and_gaps(rate: int) -> None:
    source = AudioInput(sample_rate=rate, encoding="mulaw", channels=1)
    given_back = 0
    for count in range(1, 120):
        given_back += len(source.decode(b"\xff" * count)) + len(source.flush())
        assert given_back == source.position == source.samples_received * 16_000 // rate
        given_back += source.skip(count)
        assert given_back == source.position


def test_stereo_is_averaged() -> None:
    source = AudioInput(sample_rate=16_000, encoding="pcm_s16le", channels=2)
    assert source.decode(np.array([100, 300, -50, 50], "<i2").tobytes()).tolist() == [200 / 32768, 0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sample_rate": 11_025}, ErrorCode.UNSUPPORTED_SAMPLE_RATE),
        ({"sample_rate": 0}, ErrorCode.UNSUPPORTED_SAMPLE_RATE),
        ({"encoding": "opus"}, ErrorCode.UNSUPPORTED_ENCODING),
        ({"channels": 3}, ErrorCode.UNSUPPORTED_CHANNELS),
    ],
)
def test_refuses_formats_by_name(changes: dict[str, int | str], code: ErrorCode) -> None:
    format_ = {"sample_rate": 16_000, "encoding": "pcm_s16le", "channels": 1, **changes}
    with pytest.raises(ProtocolError, match=str(next(iter(changes.values())))) as fault:
        AudioInput(**format_)  # type: ignore[arg-type]
    assert fault.value.code == code


@pytest.mark.parametrize(
    ("encoding", "channels", "pcm"),
    [
        ("pcm_s16le", 1, b"abc"),
        ("pcm_s16le", 2, b"ab"),
        ("pcm_f32le", 1, b"abcdef"),
        ("mulaw", 2, b"a"),
        ("pcm_f32le", 1, np.array([0, np.nan], "<f4").tobytes()),
        ("pcm_f32le", 1, np.array([0, -np.inf], "<f4").tobytes()),
        ("pcm_f32le", 1, np.array([12_345], "<f4").tobytes()),
    ],
)
def test_refuses_broken_audio_and_stays_as_it_was(encoding: str, channels: int, pcm: bytes) -> None:
    source = AudioInput(sample_rate=16_000, encoding=encoding, channels=channels)
    with pytest.raises(ProtocolError, match="expected") as fault:
        source.decode(pcm)
    assert fault.value.code == ErrorCode.BAD_AUDIO
    assert source.samples_received == 0


def test_floats_a_little_too_loud_are_clipped() -> None:
    source = AudioInput(sample_rate=16_000, encoding="pcm_f32le", channels=1)
    assert source.decode(np.array([1.5, -1.5], "<f4").tobytes()).tolist() == [1, -1]


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_nothing_in_nothing_out(rate: int) -> None:
    source = AudioInput(sample_rate=rate, encoding="pcm_s16le", channels=1)
    assert len(source.decode(b"")) == len(source.flush()) == source.position == 0
