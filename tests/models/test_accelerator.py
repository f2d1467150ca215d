"""How many slots a device gets, whatever torch says of its memory."""

from __future__ import annotations

import pytest
import torch

from steno.models.accelerator import MOST_SLOTS, STREAM, make_pool, make_recorder
from steno.models.checkpoint import load_network
from steno.models.memory_budget import CONTEXT, WORKING
from steno.models.network import Network
from steno.models.slot_pool import SLOT_TOKENS, bytes_per_token
from tests.tiny import tiny_checkpoint

GIB = 2**30
TOTAL = 80 * GIB


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return load_network(tiny_checkpoint(tmp_path_factory.mktemp("checkpoint")), device="cpu", dtype=torch.float32)


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A device of 80 GiB of which 3 GiB are free and one is ours; the shares that the process was held to."""
    held: list[float] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, TOTAL))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: GIB)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, device: held.append(share))
    return held


def _cost(network: Network) -> int:
    return bytes_per_token(network.config.decoder, torch.float32) * SLOT_TOKENS + STREAM


def test_a_cap_holds_the_process_and_leaves_the_rest_for_slots(network: Network, shares: list[float]) -> None:
    cap = CONTEXT + WORKING + GIB + 10 * _cost(network)
    pool = make_pool(network, torch.float32, cap)
    assert pool.slots == 10
    assert shares == [(cap - CONTEXT) / TOTAL]


def test_without_a_cap_what_is_free_counts(network: Network, shares: list[float]) -> None:
    pool = make_pool(network, torch.float32, None)
    assert 0 < pool.slots * _cost(network) < 3 * GIB - WORKING
    assert pool.slots < MOST_SLOTS
    assert shares == [1.0]


def test_no_room_for_one_slot_is_told(network: Network, shares: list[float]) -> None:
    with pytest.raises(ValueError, match="expected at least one slot"):
        make_pool(network, torch.float32, CONTEXT + WORKING + GIB + _cost(network) // 2)
    with pytest.raises(ValueError, match="no memory is left"):
        make_pool(network, torch.float32, GIB)


def test_graphs_are_for_cuda() -> None:
    assert make_recorder(torch.device("cpu")) is None
    assert make_recorder(torch.device("cuda", 0)) is not None
