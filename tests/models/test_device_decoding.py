"""Decoding on the device says what decoding on the host says, token for token, whatever it is given.

Here both run on a CPU in float32, the device's without graphs (its eager twin) or with a fake recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from steno.models.checkpoint import load_network
from steno.models.decode_lanes import DecodeLanes
from steno.models.decoding import Allowed, Decoder, DecodeRow, HostDecoder, RowInput
from steno.models.device_decoding import AHEAD, STEPS, DeviceDecoder
from steno.models.kv_cache import KVCache, Slots
from steno.models.network import Network
from steno.models.slot_pool import SlotPool
from tests.models.test_graphs import FakeRecorder
from tests.tiny import SHAPES, SMALL, tiny_checkpoint


@pytest.fixture(scope="module", params=["small", "three-layers"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_network(tiny_checkpoint(folder, SHAPES[request.param]), device="cpu", dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class Case:
    """A row to decode, apart from its slot."""

    held: list[int]  # tokens in the slot before
    before: list[int]
    audio: torch.Tensor
    after: list[int]
    limit: int
    previous: list[int]
    pinned: int = 0
    allowed: Allowed | None = None
    keeps_logprobs: bool = False

    def input(self) -> RowInput:
        return RowInput(self.before, [self.audio] if self.audio.shape[0] else [], self.after)

    def row(self, slot: int) -> DecodeRow:
        old = [-0.25 - index for index in range(len(self.previous))] if self.keeps_logprobs else []
        return DecodeRow(slot, self.limit, self.previous, self.pinned, self.allowed, old)


@torch.inference_mode()
def _decode(decoder: Decoder, cache: Slots, network: Network, cases: Sequence[Case]) -> list[DecodeRow]:
    """Fill a slot for each case, decode, close."""
    rows = []
    for case in cases:
        slot = cache.open()
        if case.held:
            HostDecoder(network, cache, frozenset()).decode([DecodeRow(slot, 1)], [RowInput(case.held)])
            cache.truncate(slot, len(case.held))
        rows.append(case.row(slot))
    decoder.decode(rows, [case.input() for case in cases])
    for row in rows:
        cache.close(row.slot)
    return rows


def random_case(generator: np.random.Generator, vocabulary: int, hidden: int) -> Case:
    """Without a draft."""

    def some(low: int, high: int) -> list[int]:
        return [int(token) for token in generator.integers(0, vocabulary, generator.integers(low, high + 1))]

    audio = torch.from_numpy(generator.standard_normal((int(generator.integers(0, 20)), hidden)).astype(np.float32))
    return Case(some(0, 12), some(0, 6), audio, some(1, 5), int(generator.integers(0, 40)), [])


def said(rows: Sequence[DecodeRow]) -> list[tuple[list[int], bool, bool]]:
    return [(row.tokens, row.truncated, row.looped) for row in rows]


def both(
    network: Network,
    cases: Sequence[Case],
    ends: frozenset[int],
    make: Callable[[SlotPool], DeviceDecoder] | None = None,
    *,
    slot_tokens: int = 32,
) -> tuple[list[DecodeRow], list[DecodeRow]]:
    config = network.config.decoder
    growing = KVCache(config, dtype=torch.float32, device="cpu")
    pool = SlotPool(config, 24, dtype=torch.float32, device="cpu", slot_tokens=slot_tokens)
    device = DeviceDecoder(network, pool, ends) if make is None else make(pool)
    on_host = _decode(HostDecoder(network, growing, ends), growing, network, cases)
    on_device = _decode(device, pool, network, cases)
    assert pool.free_slots == pool.slots
    return on_host, on_device


def _with_drafts(
    generator: np.random.Generator, cases: Sequence[Case], rows: Sequence[DecodeRow], vocabulary: int
) -> list[Case]:
    """The same cases with what was said as the previous hypothesis, changed in places, pinned in some."""
    drafted = []
    for case, row in zip(cases, rows, strict=True):
        previous = list(row.tokens)
        for _ in range(int(generator.integers(0, 3)) if previous else 0):
            place = int(generator.integers(0, len(previous)))
            new = generator.integers(0, vocabulary, generator.integers(0, 3)).tolist()
            previous[place : place + int(generator.integers(0, 3))] = new
            if not previous:
                break
        pinned = int(generator.integers(0, len(previous) + 1)) if generator.integers(0, 4) == 0 else 0
        allowed = _beginning(case.after) if generator.integers(0, 4) == 0 else None
        keeps = bool(generator.integers(0, 2)) and not pinned and allowed is None
        drafted.append(
            Case(case.held, case.before, case.audio, case.after, case.limit, previous, pinned, allowed, keeps)
        )
    return drafted


def _beginning(ids: Sequence[int]) -> Allowed:
    """The first two tokens are of `ids`, after them anything."""
    return lambda tokens: sorted(set(ids)) if len(tokens) < 2 else None


@pytest.mark.parametrize("seed", range(6))
def test_random_batches_say_the_same_with_and_without_drafts(network: Network, seed: int) -> None:
    generator = np.random.default_rng(seed)
    config = network.config.decoder
    ends = frozenset(int(token) for token in generator.integers(0, config.vocab_size, 12))
    cases = [random_case(generator, config.vocab_size, config.hidden_size) for _ in range(7)]
    on_host, on_device = both(network, cases, ends)
    assert said(on_device) == said(on_host)
    assert any(row.tokens for row in on_host)
    cases = _with_drafts(generator, cases, on_host, config.vocab_size)
    drafted_on_host, drafted_on_device = both(network, cases, ends)
    assert said(drafted_on_device) == said(drafted_on_host)
    for ours, theirs in zip(drafted_on_device, drafted_on_host, strict=True):
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=1e-3, atol=1e-4)
        assert ours.counters.prefilled == theirs.counters.prefilled


def test_a_loop_is_cut_as_on_the_host(network: Network) -> None:
    config = network.config.decoder
    case = Case([], [], torch.zeros(0, config.hidden_size), [5], 400, [])
    original = network.lm_head
    network.lm_head = _Always(config.vocab_size, 9)
    try:
        on_host, on_device = both(network, [case, case], frozenset({3}))
    finally:
        network.lm_head = original
    assert all(row.looped for row in on_host)
    assert said(on_device) == said(on_host)


class _Always(torch.nn.Module):
    """A head that always says one token."""

    def __init__(self, vocabulary: int, token: int) -> None:
        super().__init__()
        self._scores = torch.zeros(vocabulary)
        self._scores[token] = 1.0

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self._scores.expand(states.shape[0], -1).clone()


def test_more_rows_than_lanes_and_longer_than_a_slot(network: Network) -> None:
    config = network.config.decoder
    generator = np.random.default_rng(3)
    audio = torch.from_numpy(generator.standard_normal((90, config.hidden_size)).astype(np.float32))
    long = Case([1, 2], [3], audio, [4], 30, [])
    cases = [long, *(random_case(generator, config.vocab_size, config.hidden_size) for _ in range(8))]
    on_host, on_device = both(
        network, cases, frozenset(), lambda pool: DeviceDecoder(network, pool, frozenset(), widths=(1, 2, 4))
    )
    assert said(on_device) == said(on_host)


def test_recorded_lanes_say_the_same(network: Network) -> None:
    config = network.config.decoder
    generator = np.random.default_rng(4)
    cases = [random_case(generator, config.vocab_size, config.hidden_size) for _ in range(5)]
    recorder = FakeRecorder()
    made: list[DeviceDecoder] = []

    def make(pool: SlotPool) -> DeviceDecoder:
        made.append(DeviceDecoder(network, pool, frozenset(), recorder=recorder, widths=(1, 4, 8)))
        made[0].warm_up()
        return made[0]

    on_host, on_device = both(network, cases, frozenset(), make)
    assert said(on_device) == said(on_host)
    assert made[0].graphs == recorder.recorded >= 3


def test_a_graph_that_differs_is_not_used(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    config = network.config.decoder
    generator = np.random.default_rng(5)
    cases = [random_case(generator, config.vocab_size, config.hidden_size) for _ in range(3)]
    recorder = FakeRecorder(wrong=True)
    on_host, on_device = both(
        network, cases, frozenset(), lambda pool: DeviceDecoder(network, pool, frozenset(), recorder=recorder)
    )
    assert said(on_device) == said(on_host)
    assert "is not used" in caplog.text


def test_a_text_that_is_known_is_confirmed_in_one_pass(network: Network) -> None:
    config = network.config.decoder
    generator = np.random.default_rng(6)
    cases = [random_case(generator, config.vocab_size, config.hidden_size) for _ in range(4)]
    first, _ = both(network, cases, frozenset())
    known = [
        Case(case.held, case.before, case.audio, case.after, case.limit, row.tokens)
        for case, row in zip(cases, first, strict=True)
    ]
    _, again = both(network, known, frozenset())
    assert [row.tokens for row in again] == [row.tokens for row in first]
    assert all(row.counters.passes <= 1 and row.counters.decoded == 0 for row in again)


def test_positions_that_the_model_has_not_are_refused(network: Network) -> None:
    pool = SlotPool(network.config.decoder, 200, dtype=torch.float32, device="cpu", slot_tokens=32)
    most = network.config.decoder.max_positions
    assert most == SMALL.positions
    slot = pool.open()
    decoder = DeviceDecoder(network, pool, frozenset())
    with pytest.raises(ValueError, match=f"the model has {most} positions"), torch.inference_mode():
        decoder.decode([DecodeRow(slot, 50)], [RowInput([1] * (most - 3))])


def test_steps_beyond_the_text_need_no_room(network: Network) -> None:
    """Two rows of 25 tokens that say 6 fit into two slots of 32, though whole graphs of steps would not."""
    config = network.config.decoder
    pool = SlotPool(config, 2, dtype=torch.float32, device="cpu", slot_tokens=32)
    audio = torch.zeros(0, config.hidden_size)
    cases = [Case([], list(range(first, first + 25)), audio, [], 6, []) for first in (1, 40)]
    growing = KVCache(config, dtype=torch.float32, device="cpu")
    on_host = _decode(HostDecoder(network, growing, frozenset()), growing, network, cases)
    on_device = _decode(DeviceDecoder(network, pool, frozenset()), pool, network, cases)
    assert said(on_device) == said(on_host)


def test_the_device_runs_few_steps_beyond_the_end(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    config = network.config.decoder
    runs: list[int] = []
    run = DecodeLanes.run

    def counted(lanes: DecodeLanes) -> None:
        runs.append(lanes.width)
        run(lanes)

    monkeypatch.setattr(DecodeLanes, "run", counted)
    audio = torch.zeros(0, config.hidden_size)
    case = Case([], [1, 2, 3], audio, [4, 5], 40, [])
    _, (whole,) = both(network, [case], frozenset())
    length = len(whole.tokens)
    assert length > 8
    early = [count for count in range(1, length) if whole.tokens[count] not in whole.tokens[:count]]
    assert early[0] < 8  # the bound means something: all 40 tokens are 10 graphs
    for count in early:
        runs.clear()
        _, (row,) = both(network, [case], frozenset([whole.tokens[count]]))
        assert row.tokens == whole.tokens[:count]
        assert len(runs) <= -(-count // STEPS) + AHEAD
