"""Rotary tables computed once for the life of a network and looked up by position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import DecoderConfig
from .layers import rope_tables

FIRST_POSITIONS = 1024


class RopeCache:
    """cos and sin of positions 0 .. n, for one device and type; n grows by doubling."""

    def __init__(self, config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> None:
        self._config = config
        self.dtype = dtype
        self.device = device
        self._cos, self._sin = self._compute(FIRST_POSITIONS)

    def rows(self, starts: Sequence[int], counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tables `[sum(counts), 1, head_size]` of `counts[i]` positions from `starts[i]` on, packed."""
        last = max(start + count for start, count in zip(starts, counts, strict=True))
        if last > self._cos.shape[0]:
            self._cos, self._sin = self._compute(max(last, 2 * self._cos.shape[0]))
        spans = [slice(start, start + count) for start, count in zip(starts, counts, strict=True)]
        if len(spans) == 1:
            return self._cos[spans[0]], self._sin[spans[0]]
        return torch.cat([self._cos[span] for span in spans]), torch.cat([self._sin[span] for span in spans])

    @torch.inference_mode(False)  # what inference made could never be used with gradients
    def _compute(self, count: int) -> tuple[Tensor, Tensor]:
        return rope_tables(torch.arange(count, device=self.device), self._config, self.dtype)
