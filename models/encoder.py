"""The audio tower: mel frames in, one embedding of the decoder's width per token out (13 tokens per second).

A chunk of mel frames goes through the conv stem alone; attention then runs in one of two modes. `window`: independent
windows of whole chunks. `rolling`: each block sees itself and a cache of the keys and values before it. Knows nothing
of streams or of which windows are finished; `encoder_stream` keeps that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bounded_parts import bounded_parts
from .config import EncoderConfig
from .layers import Attend, EncoderLayer
from .packed_attention import flash, flash_fits
from .upload import upload

STEM_BATCH = {"cpu": 2}  # chunks per conv call by device: bounds memory, 6 MB of activations each at 480 channels
STEM_BATCH_ELSEWHERE = 32
WINDOW_TOKENS = 8192  # run together on an accelerator


def sinusoids(positions: Tensor, size: int) -> Tensor:
    """Whisper-style sinusoidal positions, float32 `[n, size]`: sines in the first half, cosines in the second."""
    step = math.log(10_000) / (size // 2 - 1)
    rates = torch.exp(-step * torch.arange(size // 2, device=positions.device).float())
    angles = positions.float()[:, None] * rates[None, :]
    return torch.cat((angles.sin(), angles.cos()), dim=1)


@dataclass(slots=True)
class RollingCache:
    """Keys and values of the last `left_context_tokens` tokens of one stream, per layer `[tokens, heads, d]`."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    tokens_seen: int = 0  # all tokens encoded so far: a multiple of the block until the stream's end

    @property
    def length(self) -> int:
        return self.keys[0].shape[0] if self.keys else 0


class AudioEncoder(nn.Module):
    """Weights of the audio tower; parameter names are the official ones below `audio_tower.`"""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        channels, size = config.conv_channels, config.hidden_size
        self.conv2d1 = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.conv2d2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv2d3 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv_out: nn.Module = nn.Linear(config.conv_features, size, bias=False)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.ln_post = nn.LayerNorm(size)
        self.proj1: nn.Module = nn.Linear(size, size)
        self.proj2: nn.Module = nn.Linear(size, config.output_size)

    def stem(self, chunks: Tensor) -> Tensor:
        """Conv stem of chunks `[n, mel, chunk_frames]`, without positions: `[n, chunk_tokens, hidden]`.

        Features of any type; the convolutions may have another type than the layers.
        """
        parts = []
        together = STEM_BATCH.get(chunks.device.type, STEM_BATCH_ELSEWHERE)
        for batch in chunks.to(self.conv2d1.weight.dtype).split(together):
            x = F.gelu(self.conv2d1(batch[:, None]))
            x = F.gelu(self.conv2d2(x))
            x = F.gelu(self.conv2d3(x))
            parts.append(self.conv_out(x.permute(0, 3, 1, 2).flatten(2).to(self.ln_post.weight.dtype)))
        return torch.cat(parts)

    def positions(self, first_token: int, count: int, dtype: torch.dtype) -> Tensor:
        """Position rows of tokens `first_token ..` of a stream, `[count, hidden]`."""
        index = torch.arange(first_token, first_token + count, device=self.ln_post.weight.device)
        if self.config.positions == "chunk":
            index = index % self.config.chunk_tokens
        return sinusoids(index, self.config.hidden_size).to(dtype)

    def positions_of_chunks(self, chunks: Tensor, count: int, dtype: torch.dtype) -> Tensor:
        """Position rows of the first `count` tokens of each of `chunks` int64 `[n]`: `[n, count, hidden]`."""
        index = torch.arange(count, device=chunks.device)
        if self.config.positions == "chunk":
            return sinusoids(index, self.config.hidden_size).to(dtype).expand(chunks.shape[0], -1, -1)
        index = chunks[:, None] * self.config.chunk_tokens + index
        return sinusoids(index.flatten(), self.config.hidden_size).to(dtype).view(*index.shape, -1)

    def embed(self, features: Tensor) -> Tensor:
        """Stem and positions of a clip from its first chunk on: features `[mel, frames]` -> `[tokens, hidden]`.

        The last chunk is padded with 0.0 (in feature space) to whole length, as the native implementation does.
        """
        frames = features.shape[1]
        size = self.config.chunk_frames
        features = F.pad(features, (0, -frames % size))
        chunks = features.unflatten(1, (-1, size)).permute(1, 0, 2)
        tokens = self.config.tokens(frames)
        stem = self.stem(chunks).flatten(0, 1)[:tokens]
        return stem + self.positions(0, tokens, stem.dtype)

    def encode_windows(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Attention of independent windows: x `[sum(lengths), hidden]` packed -> `[sum(lengths), output]`."""
        if flash_fits(x):
            return self._encode_windows_flash(x, lengths)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = []
            for start, count, length in _runs(lengths):
                cut = slice(start, start + count * length)
                heads = (t[cut].unflatten(0, (count, length)).transpose(1, 2) for t in (q, k, v))
                parts.append(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(0, 1))
            return torch.cat(parts)

        for layer in self.layers:
            x = layer(x, attend)
        return self.project(x)

    def _encode_windows_flash(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """The same on an accelerator: one call for all windows of a layer; WINDOW_TOKENS at a time bound the memory."""
        encoded = []
        for part in bounded_parts(lengths, WINDOW_TOKENS):
            some = lengths[part]
            tokens, x = x[: sum(some)], x[sum(some) :]
            (ends,) = upload([np.cumsum([0, *some])], x.device)
            encoded.append(self.run_windows(tokens, ends.int(), max(some)))
        return torch.cat(encoded)

    def run_windows(self, x: Tensor, ends: Tensor, longest: int) -> Tensor:
        """Half-precision windows on CUDA: x `[t, hidden]`, `ends` int32 `[windows + 1]` (0 and their ends; windows may
        be empty) -> `[t, output]`.
        """

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return flash(q, k, v, ends, ends, longest, longest, causal=False)

        for layer in self.layers:
            x = layer(x, attend)
        return self.project(x)

    def encode_blocks(self, x: Tensor, lengths: Sequence[int], caches: Sequence[RollingCache]) -> Tensor:
        """Rolling attention: row r adds `lengths[r]` tokens after `caches[r]`, which takes their keys and values.

        x `[sum(lengths), hidden]` packed -> `[sum(lengths), output]`. Each row starts at a block border; only the last
        call of a stream may end inside a block.
        """
        masks = [self._rolling_mask(cache, length).to(x.device) for cache, length in zip(caches, lengths, strict=True)]
        for index, layer in enumerate(self.layers):
            x = layer(x, self._rolling_attention(index, lengths, caches, masks))
        for cache, length in zip(caches, lengths, strict=True):
            cache.tokens_seen += length
        return self.project(x)

    def _rolling_attention(
        self,
        layer: int,
        lengths: Sequence[int],
        caches: Sequence[RollingCache],
        masks: Sequence[Tensor],
    ) -> Attend:
        keep = self.config.left_context_tokens

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = []
            rows = zip(q.split(list(lengths)), k.split(list(lengths)), v.split(list(lengths)), strict=True)
            for (new_q, new_k, new_v), cache, mask in zip(rows, caches, masks, strict=True):
                if layer < len(cache.keys):
                    new_k = torch.cat((cache.keys[layer], new_k))
                    new_v = torch.cat((cache.values[layer], new_v))
                    cache.keys[layer], cache.values[layer] = _last(new_k, keep), _last(new_v, keep)
                else:
                    cache.keys.append(_last(new_k, keep))
                    cache.values.append(_last(new_v, keep))
                mixed = F.scaled_dot_product_attention(
                    new_q.transpose(0, 1)[None], new_k.transpose(0, 1)[None], new_v.transpose(0, 1)[None], mask
                )
                parts.append(mixed[0].transpose(0, 1))
            return torch.cat(parts)

        return attend

    def _rolling_mask(self, cache: RollingCache, length: int) -> Tensor:
        """True where a new token may look, `[length, cached + length]`."""
        block, left = self.config.block_tokens, self.config.left_context_tokens
        first = cache.tokens_seen
        start = torch.arange(first, first + length) // block * block  # of each query's block
        key = torch.arange(first - cache.length, first + length)
        return (key >= start[:, None] - left) & (key < start[:, None] + block)

    def project(self, x: Tensor) -> Tensor:
        """Final norm and the two-layer projector to the decoder's width."""
        projected: Tensor = self.proj2(F.gelu(self.proj1(self.ln_post(x))))
        return projected

    def forward(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Encode whole clips, features `[mel, frames]` each, in the config's mode: `[tokens, output]` each."""
        embedded = [self.embed(clip) for clip in clips]
        sizes = [x.shape[0] for x in embedded]
        packed = torch.cat(embedded)
        if self.config.attention_mode == "rolling":
            encoded = self.encode_blocks(packed, sizes, [RollingCache() for _ in sizes])
        else:
            windows = [n for size in sizes for n in window_lengths(size, self.config.window_tokens)]
            encoded = self.encode_windows(packed, windows)
        return list(encoded.split(sizes))


def window_lengths(tokens: int, window: int) -> list[int]:
    """Lengths of the windows of a clip: whole ones and a remainder."""
    whole, rest = divmod(tokens, window)
    return [window] * whole + [rest] * (rest > 0)


def _runs(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(first token, count, length) of each run of equal lengths."""
    start = 0
    for length, group in groupby(lengths):
        count = len(list(group))
        yield start, count, length
        start += count * length


def _last(x: Tensor, count: int) -> Tensor:
    return x[x.shape[0] - min(count, x.shape[0]) :]
