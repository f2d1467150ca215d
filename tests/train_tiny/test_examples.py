"""What examples are made of: sounds of throats without words."""

from pathlib import Path

import numpy as np

from scripts.train_tiny.examples import backwards
from scripts.train_tiny.pack import Pack, PackWriter


def test_speech_played_backwards_comes_in_bursts_with_gaps(tmp_path: Path) -> None:
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
        out = backwards(pack, pack.clips, count, np.random.default_rng(seed))
        assert out.shape == (count,)
        assert out.dtype == np.float32
        assert np.abs(out).max() <= 1.0
    assert 0.02 < np.mean(np.abs(out) > 0.01) < 0.98  # both bursts and gaps
