"""What happens to a clip on its way to the model: speed, room, noise, level, microphone, masks.

Waveform steps take and give float32 at 16 kHz. Vocal tract length, band limits and equalisation are
applied to the mel spectrum, where they cost nothing.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from steno.models.mel import EDGE, HOP, MIN_SAMPLES, MelTransform, apply_floor, mel_filters

Samples = NDArray[np.float32]
SAMPLE_RATE = 16_000


def change_speed(samples: Samples, factor: float) -> Samples:
    """Play `factor` times as fast (pitch moves along), by linear interpolation."""
    count = max(1, round(samples.size / factor))
    at = np.arange(count, dtype=np.float32) * np.float32(factor)
    left = np.minimum(at.astype(np.int32), samples.size - 1)
    right = np.minimum(left + 1, samples.size - 1)
    part = at - left
    return np.asarray(samples[left] * (1 - part) + samples[right] * part, dtype=np.float32)


def reverberate(samples: Samples, rng: np.random.Generator) -> Samples:
    """A room of decaying noise, 0.1 to 0.6 s long, after the direct sound."""
    length = int(rng.uniform(0.1, 0.6) * SAMPLE_RATE)
    decay = np.exp(-6.9 * np.arange(length) / length)
    room = rng.standard_normal(length) * decay * rng.uniform(0.02, 0.15)
    room[: int(0.003 * SAMPLE_RATE)] = 0.0
    room[0] = 1.0
    size = 1 << (samples.size + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(room, size), size)
    return wet[: samples.size].astype(np.float32)


def whisper(samples: Samples, rng: np.random.Generator) -> Samples:
    """The same without a voice: the spectra of 8 ms, too short to show a pitch, with random phases."""
    size, hop = 128, 64
    window = np.hanning(size + 1)[:size]
    padded = np.pad(samples, (size, size + -samples.size % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    spectra = np.abs(np.fft.rfft(frames)) * np.exp(2j * np.pi * rng.random((len(frames), size // 2 + 1)))
    out = np.zeros(padded.size)
    for i, frame in enumerate(np.fft.irfft(spectra, size)):
        out[i * hop : i * hop + size] += frame * window
    return out[size : size + samples.size].astype(np.float32)


def add_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Mix in `noise` (at least as long) at a ratio to the clip's loud parts."""
    speech = float(np.sqrt(np.mean(samples**2)) + 1e-6)
    level = float(np.sqrt(np.mean(noise**2)) + 1e-9)
    return samples + noise[: samples.size] * np.float32(speech / level * 10 ** (-snr_db / 20))


def set_peak(samples: Samples, peak: float) -> Samples:
    return samples * np.float32(peak / (np.abs(samples).max() + 1e-6))


class FeatureMaker:
    """Log-mel features with vocal tract warping and a microphone's colour."""

    def __init__(self, bins: int) -> None:
        plain = MelTransform.create(bins)
        self._bins = bins
        self._plain = plain
        self._warped = [
            MelTransform(plain.window, _warp(mel_filters(bins), factor).T.contiguous())
            for factor in np.linspace(0.86, 1.16, 13)
        ]

    def plain(self, samples: Samples) -> Tensor:
        return self._features(samples, self._plain, None)

    def augmented(self, samples: Samples, rng: np.random.Generator, strength: float, voice: float) -> Tensor:
        """Features `[bins, frames]` with random warp (`voice`), equalisation and, at times, a telephone band
        (`strength`), both 0..1."""
        middle = len(self._warped) / 2
        transform = self._warped[int(middle + voice * rng.uniform(-middle, middle))]
        colour = np.interp(np.arange(self._bins), np.linspace(0, self._bins, 6), rng.normal(0, 0.25, 6))
        if rng.random() < 0.3 * strength:  # log10 power: -3 is 30 dB down
            top = int(self._bins * rng.choice([0.62, 0.68, 0.76, 0.9]))  # 3.4 kHz is at 0.68
            colour[top:] -= rng.uniform(1.5, 6)
            if rng.random() < 0.5:
                colour[: int(self._bins * 0.1)] -= rng.uniform(0.5, 3)
        return self._features(samples, transform, torch.from_numpy(colour.astype(np.float32)))

    def _features(self, samples: Samples, transform: MelTransform, colour: Tensor | None) -> Tensor:
        wave = torch.from_numpy(samples)
        wave = F.pad(wave, (0, max(0, MIN_SAMPLES - wave.numel())))
        padded = F.pad(wave[None, None], (EDGE, EDGE), mode="reflect")[0, 0]
        raw = transform.raw_frames(padded)[:, : wave.numel() // HOP]
        if colour is not None:
            raw = raw + colour[:, None]
        return apply_floor(raw, raw.max())


def mask(features: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """SpecAugment: some frames and bins set to the clip's mean; `strength` 0..1 scales the widths."""
    features = features.clone()
    bins, frames = features.shape
    mean = float(features.mean())
    for _ in range(2):
        width = int(rng.integers(0, max(1, int(bins * 0.2 * strength)) + 1))
        start = int(rng.integers(0, bins - width + 1))
        features[start : start + width] = mean
    for _ in range(1 + frames // 150):
        width = int(rng.integers(0, max(1, min(int(22 * strength), frames // 6)) + 1))
        start = int(rng.integers(0, frames - width + 1))
        features[:, start : start + width] = mean
    return features


def _warp(filters: Tensor, factor: float) -> Tensor:
    """Filters `[201, bins]` read at frequencies stretched by `factor`, sums kept."""
    count = filters.shape[0]
    at = torch.arange(count) * factor
    left = at.long().clamp(max=count - 1)
    right = (left + 1).clamp(max=count - 1)
    part = (at - left)[:, None].clamp(0, 1)
    warped = filters[left] * (1 - part) + filters[right] * part
    warped[at > count - 1] = 0.0
    return warped * factor
