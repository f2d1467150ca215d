"""Attention windows of 1 to 8 s: the whole tower written out here, one softmax over the clip under a block mask."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steno.models.recognizer import Recognizer
from tests.audio_clips import clip
from tests.models.reference import features
from tests.tiny import SMALL, tiny_checkpoint

TOLERANCE = 1e-5
LENGTHS_S = (0.73, 7.9, 9.0, 20.4562)


def block_mask(frames: int, window_s: int) -> Tensor:
    """True where token q may see token k: both in the same span of `window_s` seconds. `[tokens, tokens]`."""
    seconds = range(math.ceil(frames / 100))
    tokens_of = [math.ceil(min(100, frames - 100 * second) / 8) for second in seconds]
    window = torch.tensor([second // window_s for second in seconds]).repeat_interleave(torch.tensor(tokens_of))
    return window[:, None] == window[None, :]


def encode_under_mask(weights: Mapping[str, Tensor], heads: int, mel: Tensor, mask: Tensor) -> Tensor:
    """mel `[128, frames]` -> `[tokens, hidden]`."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    rows = []
    for start in range(0, mel.shape[1], 100):
        chunk = mel[:, start : start + 100]
        image = F.pad(chunk, (0, 100 - chunk.shape[1]))[None, None]
        for name in ("conv2d1", "conv2d2", "conv2d3"):
            image = F.gelu(F.conv2d(image, weights[f"{name}.weight"], weights[f"{name}.bias"], 2, 1))
        tokens = image[0].permute(2, 0, 1).reshape(13, -1) @ weights["conv_out.weight"].T
        rows.append(tokens[: math.ceil(chunk.shape[1] / 8)])
    half = rows[0].shape[1] // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
    angles = torch.arange(13.0)[:, None] * rates
    positions = torch.cat((angles.sin(), angles.cos()), 1)
    x = torch.cat([row + positions[: row.shape[0]] for row in rows])
    for layer in range(sum(name.endswith("fc1.weight") for name in weights)):
        at = f"layers.{layer}"
        normed = norm(x, f"{at}.self_attn_layer_norm")
        q, k, v = (linear(normed, f"{at}.self_attn.{p}_proj").reshape(len(x), heads, -1).transpose(0, 1) for p in "qkv")
        scores = (q @ k.transpose(1, 2)) / math.sqrt(q.shape[2])
        mixed = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
        x = x + linear(mixed.transpose(0, 1).reshape(len(x), -1), f"{at}.self_attn.out_proj")
        x = x + linear(F.gelu(linear(norm(x, f"{at}.final_layer_norm"), f"{at}.fc1")), f"{at}.fc2")
    return linear(F.gelu(linear(norm(x, "ln_post"), "proj1")), "proj2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("windows"), dataclasses.replace(SMALL, audio_layers=3))


@pytest.mark.parametrize("window_s", range(1, 9))
@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_windows_equal_a_block_mask(folder: Path, window_s: int, length_s: float) -> None:
    recognizer = Recognizer.load(folder, window_s=window_s)
    samples = clip(length_s)
    values, valid = features(samples)
    mel = values[0, :, : int(valid.sum())]
    weights = recognizer.network.audio_tower.state_dict()
    expected = encode_under_mask(weights, SMALL.audio_heads, mel, block_mask(mel.shape[1], window_s))
    ours = recognizer.encode(samples)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= TOLERANCE


def test_the_window_matters(folder: Path) -> None:
    samples = clip(9.0)
    narrow, wide = (Recognizer.load(folder, window_s=seconds).encode(samples) for seconds in (2, 8))
    assert (narrow - wide).abs().max() > 0.1


@pytest.mark.parametrize("window_s", [0, 9, -1])
def test_other_windows_are_refused(folder: Path, window_s: int) -> None:
    with pytest.raises(ValueError, match=rf"window_s is {window_s}: expected .* 1 to 8"):
        Recognizer.load(folder, window_s=window_s)
