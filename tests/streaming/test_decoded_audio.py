"""Blocks hold what the pieces held, and samples stay in bounds whatever a file holds."""

import io

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from steno.streaming.decoded_audio import SAMPLE_RATE_HZ, Samples, in_blocks, mono_pieces


@given(lengths=st.lists(st.integers(0, 50), max_size=20), block=st.integers(1, 60))
def test_blocks_hold_what_the_pieces_held(lengths: list[int], block: int) -> None:
    whole = np.arange(sum(lengths), dtype=np.float32)
    blocks = list(in_blocks(np.split(whole, np.cumsum(lengths)[:-1]) if lengths else [], block))
    assert all(len(each) == block for each in blocks[:-1])
    assert all(0 < len(each) <= block for each in blocks)
    assert np.array_equal(np.concatenate([whole[:0], *blocks]), whole)


def _decoded(samples: Samples, rate_hz: int) -> Samples:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    file.seek(0)
    with av.open(file) as container:
        return np.concatenate(list(mono_pieces(container, "a.wav")))


@pytest.mark.parametrize("rate_hz", [8_000, SAMPLE_RATE_HZ, 48_000])
def test_channels_are_averaged(rate_hz: int) -> None:
    left = 0.5 * np.sin(2 * np.pi * 300 * np.arange(rate_hz) / rate_hz)
    mono = _decoded(np.stack([left, 0 * left], axis=1).astype(np.float32), rate_hz)
    assert mono.dtype == np.float32
    assert abs(len(mono) - SAMPLE_RATE_HZ) <= 64
    assert np.abs(mono[1_000:-1_000]).max() == pytest.approx(0.25, abs=0.01)


def test_values_that_are_no_samples_stay_in_bounds() -> None:
    samples = np.zeros(SAMPLE_RATE_HZ, np.float32)
    samples[100:103] = np.nan, np.inf, -np.inf
    samples[200:202] = 40.0, -40.0
    mono = _decoded(samples, SAMPLE_RATE_HZ)
    assert mono[100:103].tolist() == [0.0, 1.0, -1.0]
    assert mono[200:202].tolist() == [1.0, -1.0]
