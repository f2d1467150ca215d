"""Log-mel of an utterance that arrives in pieces: every frame is computed once, when it is final.

Frame i is final when sample 160 i + 199 is in; the single frame that may need reflection at the right end exists only
once the utterance is finished. Values are kept un-floored beside their running maximum, so that the floor can be
applied late. Equal to `log_mel` of the whole for any cuts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .mel import EDGE, HOP, MIN_SAMPLES, N_FFT, MelTransform, Samples, whole_frames
from .upload import upload

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
        self._compute(self.due())

    def finish(self) -> None:
        """No more audio: pad to 0.5 s if shorter, and compute the last frame with its reflected edge."""
        self._compute(self.due(final=True))

    def due(self, *, final: bool = False) -> list[Samples]:
        """Samples, edges included, whose whole frames became final: what `put` must be given the frames of, in order.

        `final`: no more audio, as in `finish`.
        """
        if final and self.samples < MIN_SAMPLES:
            self.feed(np.zeros(MIN_SAMPLES - self.samples, np.float32))
        pieces = []
        if self.samples > EDGE and self._queued:  # the left edge reflects samples 1 to 200
            if self.frames == 0 and not self._padded.size:
                start = np.concatenate(self._queued)
                self._padded = np.concatenate((start[EDGE:0:-1], start))
            else:
                self._padded = np.concatenate((self._padded, *self._queued))
            self._queued.clear()
            pieces.append(self._padded)
            self._padded = self._padded[whole_frames(self._padded.size) * HOP :].copy()
        if final:
            self.finished = True
            if self.samples // HOP - self.frames - sum(whole_frames(piece.size) for piece in pieces):
                reflected = N_FFT - self._padded.size
                pieces.append(np.concatenate((self._padded, self._padded[-2 : -2 - reflected : -1])))
        return [piece for piece in pieces if whole_frames(piece.size)]

    def put(self, raw: Tensor, maximum: float) -> None:
        """Keep the next frames, un-floored `[bins, n]`, and the loudest of their bins."""
        end = self.frames + raw.shape[1]
        if end > self._raw.shape[1]:
            grown = self._raw.new_empty(self._raw.shape[0], max(end, 2 * self._raw.shape[1]))
            grown[:, : self.frames] = self.raw
            self._raw = grown
        self._raw[:, self.frames : end] = raw
        self.frames = end
        self.maximum = max(self.maximum, maximum)

    def _compute(self, pieces: Sequence[Samples]) -> None:
        for piece in pieces:
            raw = self._transform.raw_frames(torch.from_numpy(piece).to(self._raw.device))
            self.put(raw, float(raw.max()))


def advance_together(transform: MelTransform, streams: Sequence[MelStream], finals: Sequence[bool]) -> None:
    """`advance` of many streams, or `finish` where `finals` says so, as an accelerator wants it: one copy in, one
    transform, one copy of the maxima out.
    """
    due = [(stream, piece) for stream, final in zip(streams, finals, strict=True) for piece in stream.due(final=final)]
    if not due:
        return
    counts = [whole_frames(piece.size) for _, piece in due]
    begins = np.cumsum([0, *(piece.size for _, piece in due)])[:-1]
    starts = np.concatenate([np.arange(n) * HOP + begin for n, begin in zip(counts, begins, strict=True)])
    device = transform.window.device
    wave = torch.from_numpy(np.concatenate([piece for _, piece in due]))
    if device.type == "cuda":
        wave = wave.pin_memory()
    (at,) = upload([starts], device)
    raw = transform.raw_frames_at(wave.to(device, non_blocking=True), at)
    loudest = raw.amax(0).cpu().numpy()
    ends = np.cumsum(counts)
    for (stream, _), part, end, count in zip(due, raw.split(counts, dim=1), ends, counts, strict=True):
        stream.put(part, float(loudest[end - count : end].max()))
