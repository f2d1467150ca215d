"""Passes and windows of fixed sizes say what those of their own size say, whatever lies in what they leave empty.

The kernels that read lengths on the device are stood in for by the plain attention, told the same tensors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steno.models.checkpoint import load_network
from steno.models.device_decoding import DeviceDecoder
from steno.models.network import Network
from steno.models.packed_attention import Lanes, PackedRows, ReferenceAttention
from steno.models.recorded_windows import RecordedWindows
from steno.models.slot_pool import SlotPool
from tests.models.test_device_decoding import both, random_case, said
from tests.models.test_graphs import FakeRecorder
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder: Path = tmp_path_factory.mktemp("checkpoint")
    return load_network(tiny_checkpoint(folder), device="cpu", dtype=torch.float32)


class TensorAttention:
    """The plain attention of what the tensors say; tokens of no row come out as NaN."""

    on_device = True

    def __init__(self) -> None:
        self._plain = ReferenceAttention()
        self.empty_rows = 0

    def rows(self, q: Tensor, keys: Tensor, values: Tensor, rows: PackedRows) -> Tensor:
        ends = rows.query_ends.tolist()
        counts = [end - begin for begin, end in zip(ends, ends[1:], strict=False)]
        known = zip(counts, rows.key_starts.tolist(), rows.key_counts.tolist(), strict=False)
        filled = [each for each in known if each[0]]
        self.empty_rows += len(counts) - len(filled)
        assert max(used for _, _, used in filled) <= max(rows.used)
        starts, used = [start for _, start, _ in filled], [used for _, _, used in filled]
        plain = PackedRows([count for count, _, _ in filled], starts, used, *[rows.key_counts] * 3)
        mixed = torch.full_like(q, torch.nan)
        mixed[: ends[-1]] = self._plain.rows(q[: ends[-1]], keys, values, plain)
        return mixed

    def lanes(self, q: Tensor, keys: Tensor, values: Tensor, lanes: Lanes) -> Tensor:
        return self._plain.lanes(q, keys, values, lanes)


@pytest.mark.parametrize("seed", range(4))
def test_recorded_passes_say_what_passes_of_their_own_size_say(network: Network, seed: int) -> None:
    config = network.config.decoder
    generator = np.random.default_rng(seed)
    cases = [random_case(generator, config.vocab_size, config.hidden_size) for _ in range(9)]
    attention, made = TensorAttention(), []

    def make(pool: SlotPool) -> DeviceDecoder:
        decoder = DeviceDecoder(network, pool, frozenset(), recorder=FakeRecorder(), attention=attention, widths=(16,))
        decoder.warm_up()
        made.append((decoder, decoder.graphs))
        attention.empty_rows = 0
        return decoder

    on_host, on_device = both(network, cases, frozenset(), make, slot_tokens=100)
    assert said(on_device) == said(on_host)
    assert made[0][1] == 1 + 4, "the lanes and each size of pass"
    assert attention.empty_rows > 0


def test_sizes_that_the_slots_cannot_be_tried_on_are_left_out(network: Network) -> None:
    pool = SlotPool(network.config.decoder, 6, dtype=torch.float32, device="cpu", slot_tokens=100)
    decoder = DeviceDecoder(
        network, pool, frozenset(), recorder=FakeRecorder(), attention=TensorAttention(), widths=(4,)
    )
    decoder.warm_up()
    assert decoder.graphs == 1 + 2


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(4))
def test_recorded_windows_encode_what_windows_alone_do(
    network: Network, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flash(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, starts: Tensor, *longest: int, causal: bool) -> Tensor:
        assert torch.equal(ends, starts)
        assert not causal
        assert int(ends.diff().max()) <= min(longest)
        mixed = torch.full_like(q, torch.nan)
        for begin, end in zip(ends.tolist(), ends.tolist()[1:], strict=False):
            one_q, one_k, one_v = (each[begin:end].transpose(0, 1)[None] for each in (q, k, v))
            if end > begin:
                mixed[begin:end] = F.scaled_dot_product_attention(one_q, one_k, one_v)[0].transpose(0, 1)
        return mixed

    tower = network.audio_tower
    monkeypatch.setattr("steno.models.encoder.flash", flash)
    recorded = RecordedWindows(tower, FakeRecorder(), (1, 3, 8))
    recorded.warm_up()
    assert recorded.graphs == 3
    generator = np.random.default_rng(seed)
    whole = tower.config.window_tokens
    used = 0
    for _ in range(12):
        lengths = [int(length) for length in generator.integers(1, whole + 1, generator.integers(1, 14))]
        x = torch.randn(sum(lengths), tower.config.hidden_size)
        found = recorded.encode(x, lengths)
        assert (found is None) == (sum(lengths) > 8 * whole)
        if found is not None:
            used += 1
            torch.testing.assert_close(found, tower.encode_windows(x, lengths), atol=1e-5, rtol=1e-5)
    assert used > 3
    assert recorded.encode(torch.zeros(5, tower.config.hidden_size), [1] * 5) is None, "more windows than it has"
