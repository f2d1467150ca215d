"""Tiny random checkpoints for tests: real layouts, real control tokens, a few thousand weights, the same every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from scripts.make_checkpoint import Layout, Size, write_checkpoint

SMALL = Size(
    audio_hidden=32,
    audio_layers=2,
    audio_heads=4,
    audio_ffn=64,
    hidden=48,
    intermediate=96,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    vocab=512,
    positions=4096,
    conv_channels=12,
)
SHAPES = {
    "small": SMALL,
    "one-layer": replace(SMALL, audio_layers=1, layers=1, kv_heads=4),
    "three-layers": replace(SMALL, audio_layers=3, layers=3, heads=6, kv_heads=2, head_dim=8),
    "uneven": replace(
        SMALL, audio_hidden=44, audio_heads=2, audio_ffn=50, hidden=40, intermediate=70, kv_heads=1, vocab=500
    ),
    "untied": replace(SMALL, tied=False, conv_channels=7),
}
ALIGNER = replace(SMALL, classes=120, tied=False, audio_layers=3)


def tiny_checkpoint(
    folder: Path,
    size: Size = SMALL,
    layout: Layout = "official",
    *,
    seed: int = 0,
    shards: int = 1,
    store_head: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a tiny checkpoint into `folder` and return it."""
    return write_checkpoint(folder, size, layout, seed=seed, shards=shards, store_head=store_head, dtype=dtype)
