"""Attention of new tokens over their slot's keys and values, in blocks that skip what causality hides.

Query heads that share a key head are stacked as rows of one product, so keys are neither repeated nor read twice. Work
follows the true lengths: a block of queries sees keys up to its own end. Knows one row of one layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 128  # queries per product: bounds the scores held, and skips half of the masked square


@dataclass(frozen=True, slots=True)
class QueryBlock:
    """Queries `start .. end` of the new tokens, which see the first `keys` keys; `mask` is added to the scores
    `[(end - start) * group, keys]`, None where nothing is hidden.
    """

    start: int
    end: int
    keys: int
    mask: Tensor | None


def query_blocks(
    past: int, count: int, group: int, *, dtype: torch.dtype, device: torch.device | str
) -> Sequence[QueryBlock]:
    """Plan of `count` new tokens behind `past`; the same for every layer of a pass."""
    blocks = []
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        mask = None
        if end - start > 1:
            hidden = torch.full((end - start, end - start), float("-inf"), dtype=dtype, device=device).triu(1)
            mask = F.pad(hidden.repeat_interleave(group, dim=0), (past + start, 0))
        blocks.append(QueryBlock(start, end, past + end, mask))
    return blocks


def attend_cached(q: Tensor, keys: Tensor, values: Tensor, blocks: Sequence[QueryBlock]) -> Tensor:
    """q `[n, heads, d]`, keys and values `[kv_heads, length, d]` -> `[n, heads, d]` in the type of q."""
    group = q.shape[1] // keys.shape[0]
    if q.shape[0] == 1:
        one = q.to(keys.dtype).view(1, keys.shape[0], group, -1)
        return F.scaled_dot_product_attention(one, keys[None], values[None]).reshape(q.shape).to(q.dtype)
    stacked = q.to(keys.dtype).unflatten(1, (-1, group)).transpose(0, 1)  # [kv_heads, n, group, d]
    parts = []
    for block in blocks:
        rows = stacked[:, block.start : block.end].flatten(1, 2)
        mixed = _attend(rows, keys[:, : block.keys], values[:, : block.keys], block.mask)
        parts.append(mixed.unflatten(1, (-1, group)).transpose(0, 1))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return whole.flatten(1, 2).to(q.dtype)


def _attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """q `[kv_heads, rows, d]`, mask `[rows, keys]` -> `[kv_heads, rows, d]`.

    On a CPU bfloat16 products outrun the fused attention, whose own are narrow; float32 ones do not.
    """
    if q.device.type != "cpu" or q.dtype == torch.float32 or mask is None:
        return F.scaled_dot_product_attention(q[None], keys[None], values[None], attn_mask=mask)[0]
    scores = torch.baddbmm(mask, q * q.shape[-1] ** -0.5, keys.transpose(1, 2))
    return torch.bmm(scores.softmax(-1), values)
