"""Attention in blocks over a slot's keys against the plain formula with a mask written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steno.models.cached_attention import BLOCK, attend_cached, query_blocks

HEADS, KV_HEADS, SIZE = 6, 2, 16


def _plain(q: Tensor, keys: Tensor, values: Tensor, past: int) -> Tensor:
    """q `[n, heads, d]`, keys and values `[kv_heads, past + n, d]`, in float64."""
    group = q.shape[1] // keys.shape[0]
    keys, values = (t.double().repeat_interleave(group, dim=0) for t in (keys, values))
    scores = torch.einsum("nhd,hkd->hnk", q.double(), keys) * q.shape[-1] ** -0.5
    count = q.shape[0]
    hidden = torch.arange(past + count)[None] > past + torch.arange(count)[:, None]
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return torch.einsum("hnk,hkd->nhd", weights, values)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("past", [0, 37])
@pytest.mark.parametrize("count", [1, 2, 40, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_blocks_give_what_one_masked_softmax_gives(dtype: torch.dtype, tolerance: float, past: int, count: int) -> None:
    generator = torch.Generator().manual_seed(count + past)
    q = torch.randn(count, HEADS, SIZE, generator=generator)
    buffer = torch.randn(2, KV_HEADS, 1024, SIZE, generator=generator).to(dtype)
    keys, values = buffer[:, :, : past + count]
    blocks = query_blocks(past, count, HEADS // KV_HEADS, dtype=dtype, device="cpu")
    mixed = attend_cached(q, keys, values, blocks)
    assert mixed.dtype is torch.float32
    torch.testing.assert_close(mixed.double(), _plain(q, keys, values, past), atol=tolerance, rtol=tolerance)


def test_no_block_looks_further_than_its_own_end() -> None:
    blocks = query_blocks(10, 300, 2, dtype=torch.float32, device="cpu")
    assert [(block.start, block.end, block.keys) for block in blocks] == [
        (0, 128, 138),
        (128, 256, 266),
        (256, 300, 310),
    ]
