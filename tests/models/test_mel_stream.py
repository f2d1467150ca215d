"""The resumable log-mel equals the whole transform for any cuts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steno.models.mel import MIN_SAMPLES, MelTransform, Samples, apply_floor, log_mel
from steno.models.mel_stream import MelStream, advance_together

TRANSFORM = MelTransform.create()


def _noise(samples: int, seed: int) -> Samples:
    """Noise whose loudness wanders over 80 dB, so that the floor matters."""
    generator = np.random.default_rng(seed)
    envelope = np.interp(np.arange(samples), np.linspace(0, samples, 9), 10.0 ** generator.uniform(-4, 0, 9))
    return (generator.standard_normal(samples) * envelope * 0.2).astype(np.float32)


def _feed_in_cuts(stream: MelStream, samples: Samples, generator: np.random.Generator) -> None:
    position = 0
    while position < samples.size:
        step = int(generator.choice([1, 7, 159, 160, 161, 400, 3000, 16000]))
        stream.feed(samples[position : position + step])
        position += step
        if generator.random() < 0.6:
            stream.advance()
    stream.finish()


@pytest.mark.parametrize("seed", range(20))
def test_random_cuts_give_the_whole_transform(seed: int) -> None:
    generator = np.random.default_rng(seed)
    samples = _noise(int(generator.integers(1, 60_000)), seed)
    stream = MelStream(TRANSFORM)
    _feed_in_cuts(stream, samples, generator)
    torch.testing.assert_close(apply_floor(stream.raw, stream.maximum), log_mel(samples, TRANSFORM), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rest", [0, 1, 39, 40, 41, 159])
def test_the_reflected_edge_is_a_frame_only_when_it_is_needed(rest: int) -> None:
    samples = _noise(MIN_SAMPLES + 1600 + rest, rest)
    stream = MelStream(TRANSFORM)
    stream.feed(samples)
    stream.advance()
    before = stream.frames
    stream.finish()
    assert stream.frames == samples.size // 160
    assert stream.frames - before == (1 if rest < 40 else 0)
    torch.testing.assert_close(apply_floor(stream.raw, stream.maximum), log_mel(samples, TRANSFORM), atol=1e-6, rtol=0)


def test_final_frames_never_change_afterwards() -> None:
    samples = _noise(40_000, 3)
    stream = MelStream(TRANSFORM)
    stream.feed(samples[:20_000])
    stream.advance()
    early = stream.raw.clone()
    stream.feed(samples[20_000:])
    stream.finish()
    assert torch.equal(stream.raw[:, : early.shape[1]], early)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(10, np.float64), "float64"),
        (np.zeros((2, 5), np.float32), r"\[2, 5\]"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
        (np.array([np.inf], np.float32), "NaN or infinity"),
    ],
)
def test_bad_samples_are_refused_by_name(samples: Samples, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MelStream(TRANSFORM).feed(samples)


def test_audio_after_the_end_is_refused() -> None:
    stream = MelStream(TRANSFORM)
    stream.finish()
    with pytest.raises(ValueError, match="finished"):
        stream.feed(np.zeros(1, np.float32))


@pytest.mark.parametrize("seed", range(5))
def test_many_streams_together_give_the_same(seed: int) -> None:
    generator = np.random.default_rng(seed)
    clips = [_noise(int(generator.integers(1, 30_000)), seed * 10 + index) for index in range(5)]
    streams = [MelStream(TRANSFORM) for _ in clips]
    longest = max(clip.size for clip in clips)
    position = 0
    while not all(stream.finished for stream in streams):
        step = int(generator.choice([1, 159, 400, 3000, 16000]))
        going = [(stream, clip) for stream, clip in zip(streams, clips, strict=True) if not stream.finished]
        for stream, clip in going:
            stream.feed(clip[position : position + step])
        position += step
        finals = [position >= clip.size for _, clip in going]
        advance_together(TRANSFORM, [stream for stream, _ in going], finals)
    assert position >= longest
    for stream, clip in zip(streams, clips, strict=True):
        expected = log_mel(clip, TRANSFORM)
        assert stream.maximum == pytest.approx(float(stream.raw.max()))
        torch.testing.assert_close(apply_floor(stream.raw, stream.maximum), expected, atol=1e-5, rtol=0)
