"""Real speech for tests: cuts of the recordings in tests/audio, decoded to float32 mono 16 kHz."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
AUDIO = Path(__file__).parent / "audio"
LENGTHS_S = (0.3, 0.73, 1.0, 7.9, 8.0, 8.1, 20.4562, 61.0)


@cache
def recording(name: str) -> NDArray[np.float32]:
    """All samples of tests/audio/{name}.opus."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    parts = []
    with av.open(str(AUDIO / f"{name}.opus")) as container:
        for frame in container.decode(audio=0):
            parts += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    parts += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    samples = np.concatenate(parts)
    samples.setflags(write=False)
    return samples


def clip(length_s: float, start_s: float = 0.4, name: str = "lj_printing") -> NDArray[np.float32]:
    """A cut of a recording. The default start lies within its first word."""
    start = round(start_s * SAMPLE_RATE)
    cut = recording(name)[start : start + round(length_s * SAMPLE_RATE)]
    if cut.shape[0] != round(length_s * SAMPLE_RATE):
        raise ValueError(f"{name} has no {length_s} s from {start_s} s on")
    return cut.copy()
