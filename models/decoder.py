"""The text decoder (Qwen3 dense) over a slotted cache: packed rows of different lengths in one pass.

Prefill, extension and one-token steps are the same call with different row lengths. Knows no audio, no prompt and no
stopping rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import DecoderConfig
from .kv_cache import KVCache
from .layers import Attend, DecoderLayer, RMSNorm, rope_tables


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

    def forward(self, x: Tensor, rows: Sequence[Row], cache: KVCache) -> Tensor:
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
        positions = torch.cat(
            [torch.arange(start, start + row.tokens) for row, start in zip(rows, starts, strict=True)]
        ).to(x.device)
        cos, sin = rope_tables(positions, self.config, x.dtype)
        masks = [_causal_mask(start, row.tokens, x.device) for row, start in zip(rows, starts, strict=True)]
        for index, layer in enumerate(self.layers):
            x = layer(x, cos, sin, _cached_attention(index, rows, masks, cache))
        for row in rows:
            cache.advance(row.slot, row.tokens)
        normed: Tensor = self.norm(x)
        return normed


def _causal_mask(start: int, count: int, device: torch.device) -> Tensor | None:
    """True where a new token may look, `[count, start + count]`; None where it may look everywhere."""
    if count == 1:
        return None
    return torch.ones(count, start + count, dtype=torch.bool, device=device).tril(start)


def _cached_attention(layer: int, rows: Sequence[Row], masks: Sequence[Tensor | None], cache: KVCache) -> Attend:
    counts = [row.tokens for row in rows]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = []
        packed = zip(q.split(counts), k.split(counts), v.split(counts), strict=True)
        for row, mask, (new_q, new_k, new_v) in zip(rows, masks, packed, strict=True):
            keys, values = cache.write(layer, row.slot, new_k, new_v)
            mixed = F.scaled_dot_product_attention(
                new_q.transpose(0, 1)[None],
                keys[None],
                values[None],
                attn_mask=mask,
                enable_gqa=True,
            )
            parts.append(mixed[0].transpose(0, 1))
        return torch.cat(parts)

    return attend
