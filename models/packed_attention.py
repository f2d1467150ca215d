"""Attention of packed rows over the tensors of a slot pool, by true lengths: one call for all rows of a layer.

`FlashAttention` is torch's variable-length kernel (half precision on CUDA): row i reads `used[i]` keys from place
`starts[i]` on, nothing is padded or gathered. `ReferenceAttention` is the plain one for every other device and type,
and what the kernel is tested against. Knows places and lengths; refuses to know slots, tokens and models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .cached_attention import attend_cached, query_blocks


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows of one pass. The tensors say on the device what the sequences say on the host.

    `counts[i]` queries of row i, the last of its `used[i]` keys, which begin at place `starts[i]`.
    """

    counts: Sequence[int]
    starts: Sequence[int]
    used: Sequence[int]
    query_ends: Tensor  # int32 [rows + 1]: 0 and the running sums of counts
    key_starts: Tensor  # int32 [rows + 1]; the last is not read
    key_counts: Tensor  # int32 [rows]


@dataclass(frozen=True, slots=True)
class Lanes:
    """One query for each row, lengths on the device only: what a recorded pass may read. No row has more than
    `longest` keys.
    """

    query_ends: Tensor  # int32 [rows + 1]: 0, 1, 2 ..
    key_starts: Tensor  # int32 [rows + 1]; the last is not read
    key_counts: Tensor  # int32 [rows]
    longest: int


class PackedAttention(Protocol):
    """q `[n, heads, d]`, keys and values `[places, kv_heads, d]` -> `[n, heads, d]`.

    `on_device`: whether `rows` goes by the tensors of its rows, the sequences being no more than upper bounds; then it
    may be recorded.
    """

    @property
    def on_device(self) -> bool: ...

    def rows(self, q: Tensor, keys: Tensor, values: Tensor, rows: PackedRows) -> Tensor: ...

    def lanes(self, q: Tensor, keys: Tensor, values: Tensor, lanes: Lanes) -> Tensor: ...


class FlashAttention:
    """The kernel below `torch.nn.attention.varlen`, which takes `seqused_k` in every torch from 2.11 on (its public
    function does so only later). Causal means aligned to the last key.
    """

    on_device = True

    def rows(self, q: Tensor, keys: Tensor, values: Tensor, rows: PackedRows) -> Tensor:
        return flash(
            q.to(keys.dtype),
            keys,
            values,
            rows.query_ends,
            rows.key_starts,
            max(rows.counts),
            max(rows.used),
            causal=True,
            key_counts=rows.key_counts,
        ).to(q.dtype)

    def lanes(self, q: Tensor, keys: Tensor, values: Tensor, lanes: Lanes) -> Tensor:
        return flash(
            q.to(keys.dtype),
            keys,
            values,
            lanes.query_ends,
            lanes.key_starts,
            1,
            lanes.longest,
            causal=False,  # the query is the last token; not causal, so that the kernel may split the keys
            key_counts=lanes.key_counts,
        ).to(q.dtype)


class ReferenceAttention:
    """Rows one after the other; lanes over a gathered and masked copy of their keys."""

    on_device = False

    def rows(self, q: Tensor, keys: Tensor, values: Tensor, rows: PackedRows) -> Tensor:
        group = q.shape[1] // keys.shape[1]
        parts = []
        for part, start, used in zip(q.split(list(rows.counts)), rows.starts, rows.used, strict=True):
            count = part.shape[0]
            plan = query_blocks(used - count, count, group, dtype=keys.dtype, device=q.device)
            places = slice(start, start + used)
            parts.append(attend_cached(part, keys[places].transpose(0, 1), values[places].transpose(0, 1), plan))
        return torch.cat(parts)

    def lanes(self, q: Tensor, keys: Tensor, values: Tensor, lanes: Lanes) -> Tensor:
        offsets = torch.arange(lanes.longest, device=q.device)
        places = (lanes.key_starts[:-1, None] + offsets).clamp(max=keys.shape[0] - 1)
        seen = (offsets < lanes.key_counts[:, None])[:, None, None]
        some_keys, some_values = (held[places].transpose(1, 2) for held in (keys, values))
        one = q.to(keys.dtype)[:, :, None]
        mixed = F.scaled_dot_product_attention(one, some_keys, some_values, attn_mask=seen, enable_gqa=True)
        return mixed[:, :, 0].to(q.dtype)


def flash(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    query_ends: Tensor,
    key_starts: Tensor,
    max_queries: int,
    max_keys: int,
    *,
    causal: bool,
    key_counts: Tensor | None = None,
) -> Tensor:
    """Packed attention of half-precision CUDA tensors: q `[n, heads, d]`, keys and values `[m, kv_heads, d]`.

    `key_counts` None: row i's keys end where the next row's begin.
    """
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
        q, keys, values, query_ends, key_starts, max_queries, max_keys, 0.0, causal, False, seqused_k=key_counts
    )[0]
    return mixed


def flash_fits(x: Tensor) -> bool:
    """Whether the kernel takes tensors like `x`."""
    return x.is_cuda and x.dtype in (torch.bfloat16, torch.float16)


def choose_attention(keys: Tensor) -> PackedAttention:
    return FlashAttention() if flash_fits(keys) else ReferenceAttention()
