"""Packed modes against float32: each map alone, and whole networks by their choices and scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scripts.make_checkpoint import SIZES, Size, write_checkpoint
from steno.models.checkpoint import load_network
from steno.models.decoder import Row
from steno.models.file_rows import FileRows
from steno.models.kv_cache import KVCache
from steno.models.layers import EncoderLayer
from steno.models.mel import SAMPLE_RATE
from steno.models.network import Network
from steno.models.numeric import FLOAT32, INT8, PACKED_BFLOAT16, NumericMode, choose_mode
from steno.models.packed_layers import PackedDecoderLayer
from steno.models.packed_linear import (
    BFloat16Linear,
    Int8Linear,
    PortableInt8Linear,
    has_fbgemm,
    pack_int8,
    quantise_rows,
)
from steno.models.packing import merge_network, pack_network
from steno.models.recognizer import Recognizer
from steno.models.vocabulary import RescoredHead, best, largest
from tests.audio_clips import recording
from tests.tiny import tiny_checkpoint

MEDIUM = Size(
    audio_hidden=128,
    audio_layers=4,
    audio_heads=4,
    audio_ffn=512,
    hidden=256,
    intermediate=768,
    layers=6,
    heads=8,
    kv_heads=4,
    head_dim=64,
    vocab=8192,
    positions=4096,
    conv_channels=48,
)
PACKS = [BFloat16Linear, PortableInt8Linear, *([Int8Linear] if has_fbgemm() else [])]


def _linears(bias: bool) -> list[nn.Linear]:
    generator = torch.Generator().manual_seed(1)
    linears = []
    for outputs in (48, 96):
        linear = nn.Linear(64, outputs, bias=bias).requires_grad_(False)
        linear.weight.copy_(torch.randn(outputs, 64, generator=generator) / 8)
        linears.append(linear)
    return linears


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 7])
def test_packed_linears_put_outputs_side_by_side(pack: type[nn.Module], bias: bool, rows: int) -> None:
    linears = _linears(bias)
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(2))
    expected = torch.cat([linear(x) for linear in linears], dim=-1)
    packed = pack(linears)
    with torch.inference_mode():
        actual = packed(x.bfloat16() if pack is BFloat16Linear else x)
    assert actual.shape == expected.shape
    assert _relative_error(actual, expected) < 0.015


@pytest.mark.parametrize("pack", PACKS)
def test_a_loud_row_costs_the_others_no_precision(pack: type[nn.Module]) -> None:
    linears = _linears(bias=False)
    x = torch.randn(9, 64, generator=torch.Generator().manual_seed(2))
    x[4] *= 1000
    expected = torch.cat([linear(x) for linear in linears], dim=-1)
    with torch.inference_mode():
        actual = pack(linears)(x.bfloat16() if pack is BFloat16Linear else x)
    quiet = [row for row in range(9) if row != 4]
    assert _relative_error(actual[quiet], expected[quiet]) < 0.015


def test_quantised_rows_are_within_half_a_step() -> None:
    weight = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(3)).bfloat16()
    weight[5] = 0
    quantised, scales = quantise_rows(weight)
    assert ((quantised.float() * scales[:, None] - weight.float()).abs() <= scales[:, None] * 0.5001).all()
    assert quantised.abs().max() == 127


def test_names_of_modes() -> None:
    assert choose_mode("auto", "cpu", 1_000_000) == FLOAT32
    assert choose_mode("auto", "cpu", 800_000_000).packed
    assert choose_mode("auto", "cuda:0", 800_000_000).name == "bfloat16"
    assert not choose_mode("bfloat16", "cuda:0").packed
    assert choose_mode(torch.float16, "cpu").activations is torch.float16
    assert choose_mode("int8", "cpu") == INT8
    with pytest.raises(ValueError, match="dtype is 'int4', expected auto, float32"):
        choose_mode("int4", "cpu")
    with pytest.raises(ValueError, match="int8 is for the CPU"):
        choose_mode("int8", "cuda:0")


@dataclass(frozen=True, slots=True)
class Agreement:
    """`equal`: share of equal choices. `error`: relative, of the scores. `widest`: the largest lead, in units of the
    scores' error, that the float32 choice had over the second where the other mode chose differently.
    """

    equal: float
    error: float
    widest: float


def compare(folder: Path, mode: NumericMode, steps: int) -> Agreement:
    """`mode` against float32 over the same audio and the same random text; every text position is a step."""
    torch.manual_seed(0)
    features = torch.randn(128, 300)
    text = torch.randint(0, 500, (steps,))
    exact = _calm(load_network(folder, device="cpu", dtype=torch.float32))
    packed = _calm(load_network(folder, device="cpu", dtype=mode.weights))
    pack_network(packed, mode)
    (expected, best), (actual, choices) = (_scores(each, features, text) for each in (exact, packed))
    leads = expected.topk(2).values.diff().abs()[:, 0]
    unequal = leads[best != choices]
    return Agreement(
        equal=float((best == choices).float().mean()),
        error=_relative_error(actual, expected),
        widest=float(unequal.max() / (actual - expected).std()) if unequal.numel() else 0.0,
    )


def _calm(network: Network) -> Network:
    """The checkpoint's attention picks sharply, so that answers vary; there any rounding grows from layer to layer."""
    for name, parameter in network.named_parameters():
        if "q_norm" in name or "k_norm" in name:
            parameter.data = torch.ones_like(parameter)
    return network


@torch.inference_mode()
def _scores(network: Network, features: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    (audio,) = network.audio_tower([features])
    x = torch.cat((audio, network.model.embed_tokens(text)))
    cache = KVCache(network.config.decoder, dtype=network.dtype, device="cpu")
    states = network.model(x, [Row(cache.open(), x.shape[0])], cache)[-text.shape[0] :]
    scored = [network.score(part) for part in states.split(32)]
    return torch.cat([each.scores for each in scored]), torch.cat([each.choices for each in scored])


# The scores of random weights have no clear winner: the second is 0.2 standard deviations behind the first. So choices
# do differ; but only where the lead is of the size of the error.
MODES = [(PACKED_BFLOAT16, 0.03), (INT8, 0.12)]


@pytest.mark.parametrize(("mode", "error"), MODES)
def test_scores_stay_near_float32_and_choices_differ_in_near_ties_only(
    tmp_path: Path, mode: NumericMode, error: float
) -> None:
    agreement = compare(write_checkpoint(tmp_path / "medium", MEDIUM), mode, 300)
    print(agreement)
    assert agreement.error < error
    assert agreement.equal > 1 - 3 * error
    assert agreement.widest < 5


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "error"), MODES)
def test_true_size(tmp_path: Path, mode: NumericMode, error: float) -> None:
    agreement = compare(write_checkpoint(tmp_path / "large", SIZES["0.6b"]), mode, 200)
    print(agreement)
    assert agreement.error < 2 * error
    assert agreement.widest < 5


def test_an_int8_head_chooses_as_its_exact_rows_do() -> None:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(256, 20_000, bias=False).requires_grad_(False)
    head.weight.copy_(torch.randn(head.weight.shape, generator=generator))
    states = torch.randn(400, 256, generator=generator)
    exact = head(states).argmax(1)
    with torch.inference_mode():
        coarse = pack_int8((head,))(states).argmax(1)
        rescored = RescoredHead(head, pack_int8, FileRows(head.weight)).score(states).choices
    assert (coarse != exact).any()  # else the rescoring is not tested
    assert (rescored == exact).float().mean() >= 0.99


@pytest.mark.parametrize("width", [1000, 128 * 9])
def test_searching_by_blocks_finds_what_topk_finds(width: int) -> None:
    scores = torch.randn(20, width, generator=torch.Generator().manual_seed(4))
    scores[3] = 1.0
    assert torch.equal(largest(scores)[:3], scores.argmax(1)[:3])
    assert largest(scores)[3] == 0
    distinct = scores[[0, 1, 2, *range(4, 20)]]
    assert torch.equal(best(distinct, 8), distinct.topk(8).indices)


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_a_packed_recogniser_streams_and_names_its_mode(tmp_path: Path, name: str) -> None:
    recognizer = Recognizer.load(tiny_checkpoint(tmp_path / "tiny"), dtype=name)
    assert recognizer.numeric_mode == name
    samples = recording("lj_printing")[: 5 * SAMPLE_RATE]
    stream = recognizer.open()
    for part in np.array_split(samples, 5):
        recognizer.feed(stream, part)
        (hypothesis,) = recognizer.step([stream])
    recognizer.feed(stream, samples[:0], final=True)
    (hypothesis,) = recognizer.step([stream])
    assert hypothesis.final
    assert len(hypothesis.logprobs) == len(hypothesis.token_ids) > 0
    assert all(np.isfinite(hypothesis.logprobs))
    assert not any(parameter.requires_grad for parameter in recognizer.network.parameters())


def test_merged_layers_compute_what_the_plain_ones_do(tmp_path: Path) -> None:
    plain = Recognizer.load(tiny_checkpoint(tmp_path))
    merged = Recognizer.load(tmp_path)
    merge_network(merged.network)
    samples = recording("lj_printing")[: round(5.3 * SAMPLE_RATE)]
    torch.testing.assert_close(merged.encode(samples), plain.encode(samples), atol=1e-5, rtol=1e-4)
    expected, found = (each.transcribe(samples, max_new_tokens=16) for each in (plain, merged))
    assert found.token_ids == expected.token_ids
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-3)


def test_an_encoder_in_float16_keeps_its_own_layers(tmp_path: Path) -> None:
    network = load_network(tiny_checkpoint(tmp_path), device="cpu", dtype=torch.float16)
    merge_network(network)
    assert all(isinstance(layer, EncoderLayer) for layer in network.audio_tower.layers)
    assert all(isinstance(layer, PackedDecoderLayer) for layer in network.model.layers)
