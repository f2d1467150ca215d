"""A pool of slots behaves as the growing cache does, and says so when it is full."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steno.models.kv_cache import KVCache
from steno.models.slot_pool import CacheFull, SlotPool, bytes_per_token
from tests.models.test_kv_cache import CONFIG


def _pool(slots: int = 4, slot_tokens: int = 8) -> SlotPool:
    return SlotPool(CONFIG, slots, dtype=torch.float32, device="cpu", slot_tokens=slot_tokens)


def _held(cache: KVCache | SlotPool, slot: int, new: torch.Tensor) -> list[torch.Tensor]:
    """Keys and values of every layer after `new` was appended."""
    cache.reserve(slot, new.shape[0])
    held = [part.clone() for layer in range(CONFIG.layers) for part in cache.write(layer, slot, new + layer, -new)]
    cache.advance(slot, new.shape[0])
    return held


@pytest.mark.parametrize("seed", range(20))
def test_a_pool_holds_what_the_growing_cache_holds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pool, cache = _pool(slots=12), KVCache(CONFIG, dtype=torch.float32, device="cpu")
    open_slots: list[tuple[int, int]] = []
    for _ in range(120):
        what = generator.integers(0, 10)
        if (what == 0 or not open_slots) and pool.free_slots:
            open_slots.append((pool.open(), cache.open()))
        elif what == 1 and open_slots:
            ours, theirs = open_slots.pop(int(generator.integers(0, len(open_slots))))
            pool.close(ours)
            cache.close(theirs)
        elif what == 2 and open_slots:
            ours, theirs = open_slots[int(generator.integers(0, len(open_slots)))]
            length = int(generator.integers(0, pool.length(ours) + 1))
            pool.truncate(ours, length)
            cache.truncate(theirs, length)
        elif open_slots:
            ours, theirs = open_slots[int(generator.integers(0, len(open_slots)))]
            new = torch.randn(int(generator.integers(1, 7)), 1, 4)
            try:
                pool.reserve(ours, new.shape[0])
            except CacheFull:
                continue
            for mine, other in zip(_held(pool, ours, new), _held(cache, theirs, new), strict=True):
                assert torch.equal(mine, other)
    assert pool.open_slots == len(open_slots)


def test_a_full_pool_says_so_and_takes_the_next_when_one_leaves() -> None:
    pool = _pool(slots=2)
    first = pool.open()
    pool.open()
    with pytest.raises(CacheFull, match="all 2 slots"):
        pool.open()
    with pytest.raises(CacheFull, match="no room for a sequence of 9 tokens: 0 of 2"):
        pool.reserve(first, 9)
    pool.close(first)
    assert pool.free_slots == 1
    pool.open()


def test_a_sequence_moves_to_where_it_has_room() -> None:
    pool = _pool(slots=4)
    first, second = pool.open(), pool.open()
    written = torch.randn(8, 1, 4)
    _held(pool, first, written)
    held = _held(pool, first, torch.ones(1, 1, 4))
    assert pool.start(first) == 2 * 8
    assert pool.capacity(first) == 2 * 8
    assert torch.equal(held[0][0, :8], written[:, 0])
    assert pool.start(second) == 8
    assert pool.free_starts() == [0]


def test_the_bounds_of_the_model_hold() -> None:
    pool = SlotPool(CONFIG, 2000, dtype=torch.float32, device="cpu", slot_tokens=8)
    assert pool.longest == CONFIG.max_positions
    with pytest.raises(ValueError, match="10001 tokens: the model has 10000"):
        pool.reserve(pool.open(), 10_001)
    with pytest.raises(ValueError, match="0 slots"):
        _pool(slots=0)


def test_memory_is_taken_once_and_counted() -> None:
    pool = _pool()
    taken = pool.reserved_bytes
    for _ in range(4):
        pool.open()
    assert pool.reserved_bytes == taken == (4 * 8 + 1) * bytes_per_token(CONFIG, torch.float32)


def test_keys_are_put_at_places_of_any_slot() -> None:
    pool = _pool()
    slots = [pool.open(), pool.open()]
    places = torch.tensor([pool.start(slots[1]) + 3, pool.start(slots[0]), pool.scratch])
    keys = torch.randn(3, 1, 4)
    pool.put(1, places, keys, -keys)
    assert torch.equal(pool.keys(1)[places], keys)
    assert torch.equal(pool.values(1)[places], -keys)
    assert not pool.keys(0).any()
