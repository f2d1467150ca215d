"""Incremental encoding against masks written out independently here, for both modes and for causal towers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steno.models.config import ConfigError, EncoderConfig
from steno.models.encoder import AudioEncoder, sinusoids
from steno.models.encoder_stream import EncoderStream, EncoderStreams
from steno.models.mel import MelTransform, Samples, log_mel
from tests.audio_clips import clip

TRANSFORM = MelTransform.create()
WINDOW = EncoderConfig(
    mel_bins=128,
    hidden_size=32,
    layers=3,
    heads=4,
    ffn_size=48,
    output_size=24,
    conv_channels=6,
    chunk_frames=100,
    window_frames=300,
)
ROLLING = replace(WINDOW, attention_mode="rolling", left_context_frames=200)
CAUSAL = replace(  # 1.92 s blocks, 15 s of left context, positions that run on
    WINDOW,
    attention_mode="rolling",
    chunk_frames=192,
    window_frames=192,
    left_context_frames=1500,
    positions="running",
)
LONG_BLOCKS = replace(ROLLING, block_chunks=3, left_context_frames=400)
CONFIGS = {"window": WINDOW, "rolling": ROLLING, "causal": CAUSAL, "long blocks": LONG_BLOCKS}


def _encoder(config: EncoderConfig) -> AudioEncoder:
    torch.manual_seed(3)
    return AudioEncoder(config).eval()


def _may_see(config: EncoderConfig, query: int, key: int) -> bool:
    if config.attention_mode == "window":
        return query // config.window_tokens == key // config.window_tokens
    block_start = query // config.block_tokens * config.block_tokens
    return block_start - config.left_context_tokens <= key < block_start + config.block_tokens


@torch.inference_mode()
def _reference(encoder: AudioEncoder, samples: Samples) -> Tensor:
    """The tower over a whole clip with one dense mask: slow, and without any of the product's attention code."""
    config = encoder.config
    features = log_mel(samples, TRANSFORM)
    rows = []
    for start in range(0, features.shape[1], config.chunk_frames):
        part = features[:, start : start + config.chunk_frames]
        stem = encoder.stem(F.pad(part, (0, config.chunk_frames - part.shape[1]))[None])[0]
        rows.append(stem[: -(-part.shape[1] // 8)])
    x = torch.cat(rows)
    index = torch.cat([torch.arange(row.shape[0]) for row in rows])
    if config.positions == "running":
        index = torch.arange(x.shape[0])
    x = x + sinusoids(index, config.hidden_size)
    count = x.shape[0]
    mask = torch.tensor([[_may_see(config, i, j) for j in range(count)] for i in range(count)])

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
        return torch.einsum("hqk,khd->qhd", weights, v)

    for layer in encoder.layers:
        x = layer(x, attend)
    return encoder.project(x)


def _encoded(stream: EncoderStream) -> Tensor:
    return torch.cat([*stream.closed, *([] if stream.open is None else [stream.open])])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(4))
@torch.inference_mode()
def test_random_cuts_give_the_dense_mask(name: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    encoder = _encoder(CONFIGS[name])
    samples = clip(float(generator.uniform(0.6, 19)))
    if seed % 2:
        samples[: samples.size // 2] *= 1e-3
    streams = EncoderStreams(encoder, TRANSFORM)
    stream = streams.open()
    position = 0
    while position < samples.size:
        step = int(generator.integers(500, 40_000))
        stream.mel.feed(samples[position : position + step])
        position += step
        streams.advance([stream], [False])
    streams.advance([stream], [True])
    torch.testing.assert_close(_encoded(stream), _reference(encoder, samples), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_streams_advanced_together_are_those_advanced_alone(name: str) -> None:
    encoder = _encoder(CONFIGS[name])
    streams = EncoderStreams(encoder, TRANSFORM)
    clips = [clip(length) for length in (0.6, 3.0, 7.31, 8.1)]
    together = [streams.open() for _ in clips]
    for start in range(0, 9 * 16_000, 16_000):
        for stream, samples in zip(together, clips, strict=True):
            stream.mel.feed(samples[start : start + 16_000])
        streams.advance(together, [False] * len(clips))
    streams.advance(together, [True] * len(clips))
    for stream, samples in zip(together, clips, strict=True):
        torch.testing.assert_close(_encoded(stream), _reference(encoder, samples), atol=1e-5, rtol=1e-5)


def test_left_context_in_tokens_counts_those_that_start_within_it() -> None:
    assert ROLLING.left_context_tokens == 26
    assert CAUSAL.left_context_tokens == 7 * 24 + 19  # 15 s = 7 blocks and 1.56 s: tokens at 0.08 s each
    assert CAUSAL.block_tokens == 24


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_frames": 250}, "n_window_infer 250"),
        ({"heads": 5}, "not a multiple of 5 heads"),
        ({"attention_mode": "global"}, "'global'"),
        ({"layers": 0}, "layers must be a positive integer, got 0"),
    ],
)
def test_contradicting_sizes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(WINDOW, **changes)  # type: ignore[arg-type]  # wrong on purpose
