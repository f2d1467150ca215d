"""Sounds without speech, synthesised: coloured noise, hum, music, glides, bursts, coughs, clicks, silence.

The right transcript of all of them is `language None`; quieter, they are backgrounds. Nothing here
comes from a recording, so recorded noise stays unheard until evaluation.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
Samples = NDArray[np.float32]
_Maker = Callable[[np.random.Generator, int], NDArray[np.float64]]


def coloured(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Noise of a random spectral slope and some broad resonances; half the time its level moves."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    shape = (np.maximum(frequency, 30.0) / 1000.0) ** -rng.uniform(-0.3, 1.2)
    for _ in range(rng.integers(0, 4)):
        centre, width = rng.uniform(100, 6000), rng.uniform(50, 1500)
        shape *= 1.0 + rng.uniform(0, 6) * np.exp(-(((frequency - centre) / width) ** 2))
    noise: NDArray[np.float64] = np.fft.irfft(spectrum * shape, count)
    if rng.random() < 0.5:
        knots = rng.uniform(0.1, 1.0, max(2, int(count / SAMPLE_RATE * rng.uniform(0.5, 6))))
        noise *= np.interp(np.linspace(0, 1, count), np.linspace(0, 1, knots.size), knots)
    return np.asarray(noise, dtype=np.float64)


def hum(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Mains or motor hum: steady harmonics."""
    base = rng.choice([50.0, 60.0, rng.uniform(40, 400)])
    t = np.arange(count) / SAMPLE_RATE
    partials = [rng.uniform(0, 1) / k * np.sin(2 * np.pi * (base * k * t + rng.random())) for k in range(1, 9)]
    return np.asarray(np.sum(partials, axis=0) + 0.02 * rng.standard_normal(count))


def music(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Chords and a melody of decaying harmonic tones."""
    out = np.zeros(count)
    beat = int(rng.uniform(0.15, 0.8) * SAMPLE_RATE)
    root = rng.uniform(80, 330)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12]) if rng.random() < 0.5 else np.arange(0, 13, 3)
    decay = rng.uniform(0.5, 8)
    weights = 1.0 / np.arange(1, 6) ** rng.uniform(0.5, 2.5)
    for start in range(0, count, beat):
        for _ in range(rng.integers(1, 4)):
            length = min(count - start, int(beat * rng.uniform(0.8, 2.5)))
            pitch = root * 2 ** ((rng.choice(scale) + 12 * rng.integers(0, 2)) / 12)
            t = np.arange(length) / SAMPLE_RATE
            tone = sum(w * np.sin(2 * np.pi * pitch * (k + 1) * t) for k, w in enumerate(weights))
            attack = np.minimum(1.0, t / 0.01)
            out[start : start + length] += tone * attack * np.exp(-decay * t) * rng.uniform(0.3, 1)
    return out


def glides(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Harmonic sounds whose pitch slides: animals, doors, sirens."""
    out = np.zeros(count)
    for _ in range(rng.integers(1, 4)):
        length = min(count, int(rng.uniform(0.2, 1.5) * SAMPLE_RATE))
        start = int(rng.integers(0, count - length + 1))
        knots = rng.uniform(150, 1200) * 2 ** rng.uniform(-0.7, 0.7, 4)
        pitch = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, 4), knots)
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
        tone = sum(rng.uniform(0, 1) / k * np.sin(k * phase) for k in range(1, 9))
        out[start : start + length] += tone * np.hanning(length)
    return out + 0.01 * rng.standard_normal(count)


def bursts(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Knocks, dishes: short coloured bursts that die away, some of them ringing."""
    out = 0.005 * rng.standard_normal(count)
    for _ in range(rng.integers(1, max(2, count // 8000))):
        length = min(count, int(rng.uniform(0.02, 0.5) * SAMPLE_RATE))
        start = int(rng.integers(0, count - length + 1))
        t = np.arange(length) / SAMPLE_RATE
        body = coloured(rng, length)
        body /= np.abs(body).max() + 1e-9
        if rng.random() < 0.4:
            for _ in range(3):
                body = body + rng.uniform(0, 1) * np.sin(2 * np.pi * rng.uniform(300, 6000) * t)
        out[start : start + length] += body * np.exp(-t * rng.uniform(5, 60)) * rng.uniform(0.2, 1)
    return out


def coughs(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Sounds of a throat that are no words: a burst of air, a noisy tail through a vocal tract, at times voiced."""
    out = 0.003 * rng.standard_normal(count)
    at = int(rng.uniform(0, 0.4) * SAMPLE_RATE)
    tract = [(rng.uniform(*band), rng.uniform(60, 300)) for band in ((350, 900), (900, 1900), (2000, 3400))]
    while at < count:
        length = min(count - at, int(rng.uniform(0.12, 0.5) * SAMPLE_RATE))
        t = np.arange(length) / SAMPLE_RATE
        source = rng.standard_normal(length)
        if rng.random() < 0.6:
            pitch = rng.uniform(90, 450) * np.exp(-t * rng.uniform(0, 2)) * (1 + 0.05 * rng.standard_normal())
            pulses = np.maximum(0, np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)) ** 8
            source = rng.uniform(0.1, 0.7) * source + rng.uniform(1, 4) * pulses * (t > rng.uniform(0.02, 0.1))
        spectrum = np.fft.rfft(source)
        frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        shape = sum(1 / (1 + ((frequency - centre) / width) ** 2) for centre, width in tract)
        body = np.fft.irfft(spectrum * (shape + rng.uniform(0.02, 0.4)), length)
        burst = np.exp(-t * rng.uniform(20, 80)) + rng.uniform(0.1, 0.8) * np.exp(-t * rng.uniform(3, 12))
        body = body / (np.abs(body).max() + 1e-9) * burst * np.minimum(1, t / rng.uniform(0.001, 0.02))
        out[at : at + length] += rng.uniform(0.3, 1) * body
        at += length + int(rng.choice([rng.uniform(0.02, 0.25), rng.uniform(0.3, 2.5)]) * SAMPLE_RATE)
    return out


def clicks(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    out = 0.002 * rng.standard_normal(count)
    out[rng.integers(0, count, rng.integers(1, 30))] = rng.uniform(-1, 1)
    return out


def silence(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Digital zero, or the faint hiss of an idle microphone."""
    return np.asarray(rng.choice([0.0, 1e-4, 1e-3]) * rng.standard_normal(count))


_MAKERS: list[_Maker] = [
    coloured,
    coloured,
    hum,
    music,
    glides,
    bursts,
    bursts,
    coughs,
    coughs,
    coughs,
    coughs,
    clicks,
    silence,
]


def draw_noise(rng: np.random.Generator, count: int) -> Samples:
    """`count` samples of one or two kinds of sound; peak at most 1."""
    out = _MAKERS[rng.integers(len(_MAKERS))](rng, count)
    if rng.random() < 0.3:
        other = _MAKERS[rng.integers(len(_MAKERS))](rng, count)
        out = out + rng.uniform(0.05, 1.0) * other
    peak = float(np.abs(out).max())
    return (out / max(peak, 1.0)).astype(np.float32)
