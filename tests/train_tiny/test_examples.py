"""What examples are made of: sounds of throats without words."""

from pathlib import Path

import numpy as np

from scripts.train_tiny import augment
from scripts.train_tiny.examples import breaths
from scripts.train_tiny.pack import Pack, PackWriter


def test_breaths_come_in_bursts_with_gaps(tmp_path: Path) -> None:
    t = np.arange(16_000) / 16_000
    with PackWriter(tmp_path) as writer:
        for i, pitch in enumerate((120, 210)):
            speech = (0.3 * np.sin(2 * np.pi * pitch * t)).astype(np.float32)
            writer.add(
                speech,
                id=str(i),
                text="word",
                language="English",
                speaker=str(i),
                source="pv-intent",
                kind="",
                split="train",
                licence="",
            )
    pack = Pack(tmp_path)
    for seed in range(20):
        count = 5_000 + 3_000 * seed
        out = breaths(pack, pack.clips, count, np.random.default_rng(seed))
        assert out.shape == (count,)
        assert out.dtype == np.float32
        assert np.abs(out).max() <= 1.0
    assert 0.02 < np.mean(np.abs(out) > 0.01) < 0.98  # both bursts and gaps


def test_a_whisper_keeps_the_colour_and_loses_the_pitch() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(16_000) / 16_000
    voice = sum(np.sin(2 * np.pi * 200 * k * t) / (1 + ((200 * k - 1400) / 200) ** 2) for k in range(1, 30))
    before = np.asarray(voice, np.float32)
    after = augment.whisper(before, rng)
    assert after.shape == before.shape
    assert after.dtype == np.float32
    was, now = (np.abs(np.fft.rfft(x)) ** 2 for x in (before, after))
    bands = [slice(i, i + 400) for i in range(0, 8000, 400)]
    assert np.argmax([now[b].sum() for b in bands]) == np.argmax([was[b].sum() for b in bands])
    harmonics = np.arange(200, 6000, 200)  # of one second: bins of 1 Hz
    assert was[harmonics].sum() > 0.9 * was.sum()
    assert now[harmonics].sum() < 0.1 * now.sum()
    for samples in (np.zeros(0, np.float32), np.ones(1, np.float32), np.zeros(1000, np.float32)):
        assert augment.whisper(samples, rng).shape == samples.shape
