"""Log-mel of an utterance that arrives in pieces: every frame is computed once, when it is final.

Frame i is final when sample 160 i + 199 is in; the single frame that may need reflection at the right end exists only
once the utterance is finished. Values are kept un-floored beside their running maximum, so that the floor can be
applied late. Equal to `log_mel` of the whole for any cuts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .mel import EDGE, HOP, MIN_SAMPLES, N_FFT, MelTransform, Samples

MIN_CAPACITY = 1024  # frames


class MelStream:
    """One utterance. `feed` only queues; `advance` and `finish` compute."""

    def __init__(self, transform: MelTransform) -> None:
        self._transform = transform
        self._queued: list[Samples] = []
        self._padded = np.zeros(0, np.float32)  # from the first sample of frame `frames` on, edges included
        self._raw = torch.empty(transform.filters.shape[0], MIN_CAPACITY, device=transform.filters.device)
        self.frames = 0
        self.samples = 0
        self.maximum = float("-inf")
        self.finished = False

    @property
    def raw(self) -> Tensor:
        """Un-floored log10 mel of the final frames, `[bins, frames]`."""
        return self._raw[:, : self.frames]

    def feed(self, samples: Samples) -> None:
        """Queue samples float32 `[n]`. ValueError after `finish` or for anything but finite float32 mono."""
        if self.finished:
            raise ValueError("audio fed to an utterance that is finished")
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise ValueError(f"samples must be float32 [n], got {samples.dtype} {list(samples.shape)}")
        if not np.isfinite(samples).all():
            raise ValueError("samples hold NaN or infinity: expected finite values in [-1, 1]")
        if samples.size:
            self._queued.append(samples)
            self.samples += samples.size

    def advance(self) -> None:
        """Compute the frames that became final."""
        if self.samples <= EDGE or not self._queued:  # the left edge reflects samples 1 to 200
            return
        if self.frames == 0 and not self._padded.size:
            start = np.concatenate(self._queued)
            self._padded = np.concatenate((start[EDGE:0:-1], start))
        else:
            self._padded = np.concatenate((self._padded, *self._queued))
        self._queued.clear()
        self._append(self._padded)
        self._padded = self._padded[self._consumed(self._padded) :].copy()

    def finish(self) -> None:
        """No more audio: pad to 0.5 s if shorter, and compute the last frame with its reflected edge."""
        if self.samples < MIN_SAMPLES:
            self.feed(np.zeros(MIN_SAMPLES - self.samples, np.float32))
        self.advance()
        self.finished = True
        missing = self.samples // HOP - self.frames
        if missing:
            reflected = N_FFT - self._padded.size
            self._append(np.concatenate((self._padded, self._padded[-2 : -2 - reflected : -1])))

    def _consumed(self, padded: Samples) -> int:
        """Samples in front of the first frame that `padded` does not hold whole."""
        return max(0, (padded.size - N_FFT) // HOP + 1) * HOP

    def _append(self, padded: Samples) -> None:
        raw = self._transform.raw_frames(torch.from_numpy(padded).to(self._raw.device))
        if not raw.shape[1]:
            return
        end = self.frames + raw.shape[1]
        if end > self._raw.shape[1]:
            grown = self._raw.new_empty(self._raw.shape[0], max(end, 2 * self._raw.shape[1]))
            grown[:, : self.frames] = self.raw
            self._raw = grown
        self._raw[:, self.frames : end] = raw
        self.frames = end
        self.maximum = max(self.maximum, float(raw.max()))
