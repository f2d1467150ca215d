"""The text decoder (Qwen3 dense) over a slotted cache: packed rows of different lengths in one pass.

Prefill, extension and one-token steps are the same call with different row lengths. Knows no audio, no prompt and no
stopping rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cached_attention import QueryBlock, attend_cached, query_blocks
from .config import DecoderConfig
from .kv_cache import Slots
from .layers import Attend, DecoderLayer, RMSNorm
from .rope_cache import RopeCache


class Row(NamedTuple):
    """`tokens` new tokens behind what `slot` holds."""

    slot: int
    tokens: int


class TextDecoder(nn.Module):
    """Weights of the decoder without its head; parameter names are the official ones below `model.`"""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self._rope: RopeCache | None = None

    def forward(self, x: Tensor, rows: Sequence[Row], cache: Slots) -> Tensor:
        """Extend each row's slot by its tokens: x `[sum(tokens), hidden]` packed -> normed states of the same shape.

        Raises ValueError when a row would pass the model's last position.
        """
        starts = [cache.length(row.slot) for row in rows]
        for row, start in zip(rows, starts, strict=True):
            if start + row.tokens > self.config.max_positions:
                raise ValueError(
                    f"sequence of {start + row.tokens} tokens: the model has {self.config.max_positions} positions"
                )
            cache.reserve(row.slot, row.tokens)
        x = x.to(self.norm.weight.dtype)
        cos, sin = self._rope_of(x).rows(starts, [row.tokens for row in rows])
        group = self.config.heads // self.config.kv_heads
        plans = [
            query_blocks(start, row.tokens, group, dtype=cache.dtype, device=x.device)
            for row, start in zip(rows, starts, strict=True)
        ]
        for index, layer in enumerate(self.layers):
            x = layer(x, cos, sin, _cached_attention(index, rows, plans, cache))
        for row in rows:
            cache.advance(row.slot, row.tokens)
        normed: Tensor = self.norm(x)
        return normed

    def _rope_of(self, x: Tensor) -> RopeCache:
        """Tables for the type and device of `x`, made anew when the network was moved."""
        if self._rope is None or (self._rope.dtype, self._rope.device) != (x.dtype, x.device):
            self._rope = RopeCache(self.config, x.dtype, x.device)
        return self._rope


def _cached_attention(layer: int, rows: Sequence[Row], plans: Sequence[Sequence[QueryBlock]], cache: Slots) -> Attend:
    counts = [row.tokens for row in rows]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = []
        packed = zip(q.split(counts), k.split(counts), v.split(counts), strict=True)
        for row, plan, (new_q, new_k, new_v) in zip(rows, plans, packed, strict=True):
            keys, values = cache.write(layer, row.slot, new_k, new_v)
            parts.append(attend_cached(new_q, keys, values, plan))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return attend
