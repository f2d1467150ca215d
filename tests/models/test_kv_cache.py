"""Slots keep to themselves, grow, are cut back and give their memory to the next."""

from __future__ import annotations

import pytest
import torch

from steno.models.config import DecoderConfig
from steno.models.kv_cache import MIN_CAPACITY, KVCache

CONFIG = DecoderConfig(
    hidden_size=8,
    intermediate_size=8,
    layers=2,
    heads=2,
    kv_heads=1,
    head_size=4,
    vocab_size=10,
    max_positions=10_000,
    rms_norm_eps=1e-6,
    rope_theta=1e6,
    tied_head=True,
)


def _cache() -> KVCache:
    return KVCache(CONFIG, dtype=torch.float32, device="cpu")


def _append(cache: KVCache, slot: int, keys: torch.Tensor) -> torch.Tensor:
    cache.reserve(slot, keys.shape[0])
    for layer in range(CONFIG.layers):
        held, _ = cache.write(layer, slot, keys, -keys)
    cache.advance(slot, keys.shape[0])
    return held[0]


def test_slots_hold_what_was_written_to_them_across_growth() -> None:
    cache = _cache()
    slots = [cache.open(), cache.open()]
    written = {slot: torch.zeros(0, 1, 4) for slot in slots}
    for turn in range(60):
        slot = slots[turn % 2]
        new = torch.randn(1 + turn, 1, 4)
        written[slot] = torch.cat((written[slot], new))
        assert torch.equal(_append(cache, slot, new), written[slot][:, 0])
    assert [cache.length(slot) for slot in slots] == [written[slot].shape[0] for slot in slots]
    assert cache.length(slots[0]) > MIN_CAPACITY


def test_a_cut_slot_goes_on_from_the_cut() -> None:
    cache = _cache()
    slot = cache.open()
    first = torch.randn(5, 1, 4)
    _append(cache, slot, first)
    cache.truncate(slot, 2)
    new = torch.randn(1, 1, 4)
    assert torch.equal(_append(cache, slot, new), torch.cat((first[:2], new))[:, 0])


@pytest.mark.parametrize("length", [-1, 6])
def test_a_cut_beyond_what_is_held_is_refused(length: int) -> None:
    cache = _cache()
    slot = cache.open()
    _append(cache, slot, torch.randn(5, 1, 4))
    with pytest.raises(ValueError, match=f"to {length}"):
        cache.truncate(slot, length)


def test_memory_follows_the_slots_open_together() -> None:
    cache = _cache()
    for _ in range(100):
        cache.close(cache.open())
    alone = cache.reserved_bytes
    slots = [cache.open() for _ in range(10)]
    for slot in slots:
        cache.close(slot)
    assert cache.open_slots == 0
    assert cache.reserved_bytes <= 4 * alone


def test_a_closed_slot_is_gone() -> None:
    cache = _cache()
    slot = cache.open()
    cache.close(slot)
    with pytest.raises(KeyError):
        cache.length(slot)
