"""Log-mel features of the Whisper kind: 16 kHz mono float32 in, 128 bins every 10 ms out.

The maths is WhisperFeatureExtractor's: periodic Hann(400), hop 160, reflect padding of 200 samples at both ends, power,
Slaney mel filters, log10, a floor 8 below the loudest bin of the utterance, (x + 4) / 4. Only that floor looks at the
future; it is kept apart (`apply_floor`) so that a stream can apply it late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Samples = NDArray[np.float32]
"""Mono audio, float32 in [-1, 1], 16 kHz."""

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
EDGE = N_FFT // 2  # samples of reflection at either end
FLOOR_DEPTH = 8.0  # log10 units below the loudest bin
MIN_SAMPLES = 8_000  # shorter clips are padded with zeros, and the padding counts as audio


def mel_filters(bins: int) -> Tensor:
    """Slaney-scale, area-normalised triangular filters, 0..8000 Hz. float32 `[201, bins]`.

    Formula: Slaney's Auditory Toolbox (linear below 1 kHz, logarithmic above), as in librosa and transformers.
    """

    def to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        log_step = np.log(6.4) / 27.0
        return np.where(mel >= 15.0, 1000.0 * np.exp(log_step * (mel - 15.0)), mel * 200.0 / 3.0)

    top_mel = 15.0 + np.log(8000.0 / 1000.0) * 27.0 / np.log(6.4)
    edges = to_hz(np.linspace(0.0, top_mel, bins + 2))
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    slopes = edges[None, :] - frequencies[:, None]  # [201, bins + 2]
    widths = np.diff(edges)
    rising = -slopes[:, :-2] / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    triangles *= 2.0 / (edges[2:] - edges[:-2])
    return torch.from_numpy(triangles.astype(np.float32))


@dataclass(frozen=True, slots=True)
class MelTransform:
    """The fixed tensors of the transform; shared by every stream of a model."""

    window: Tensor  # [400]
    filters: Tensor  # [bins, 201]

    @classmethod
    def create(cls, bins: int = 128, device: torch.device | str = "cpu") -> MelTransform:
        window = torch.hann_window(N_FFT, device=device)
        return cls(window, mel_filters(bins).T.contiguous().to(device))

    def raw_frames(self, padded: Tensor) -> Tensor:
        """Un-floored log10 mel of every whole frame in `padded` float32 `[n]`; returns `[bins, frames]`.

        Frame i covers padded samples 160 i .. 160 i + 399; the caller has put in the edges.
        """
        if padded.numel() < N_FFT:
            return padded.new_zeros((self.filters.shape[0], 0))
        spectrum = torch.stft(padded, N_FFT, HOP, window=self.window, center=False, return_complex=True)
        power = spectrum.abs() ** 2
        return torch.clamp(self.filters @ power, min=1e-10).log10()

    def raw_frames_at(self, wave: Tensor, starts: Tensor) -> Tensor:
        """The same of the frames that begin at `starts` int64 `[n]` of `wave` float32: `[bins, n]`."""
        frames = wave[starts[:, None] + torch.arange(N_FFT, device=wave.device)] * self.window
        power = torch.fft.rfft(frames).abs() ** 2
        return torch.clamp(self.filters @ power.T, min=1e-10).log10()


def whole_frames(samples: int) -> int:
    """Frames that so many samples hold, edges included."""
    return max(0, (samples - N_FFT) // HOP + 1)


def apply_floor(raw: Tensor, maximum: Tensor | float) -> Tensor:
    """Raise bins that lie more than 8 below `maximum` (log10) and scale to about [-1, 1]."""
    floor = torch.as_tensor(maximum, dtype=raw.dtype, device=raw.device) - FLOOR_DEPTH
    return (torch.maximum(raw, floor) + 4.0) / 4.0


def log_mel(samples: Samples, transform: MelTransform) -> Tensor:
    """Features of a whole clip, float32 `[bins, len(samples) // 160]`.

    Clips under 0.5 s are padded with zeros to 0.5 s, which then counts as audio (the native implementation's rule).
    """
    wave = torch.from_numpy(np.array(samples)).to(transform.window.device)  # a copy: the caller's may be read-only
    if wave.numel() < MIN_SAMPLES:
        wave = F.pad(wave, (0, MIN_SAMPLES - wave.numel()))
    padded = F.pad(wave[None, None], (EDGE, EDGE), mode="reflect")[0, 0]
    raw = transform.raw_frames(padded)[:, : wave.numel() // HOP]
    return apply_floor(raw, raw.max())
