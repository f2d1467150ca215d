"""Random networks of true size, made where they run: what the accelerator's bench measures.

Nothing is read but shapes. Two kinds of weights. `plain`: activations near 1 and answers that vary from step to step,
for checks. `scripted`: the head of each token is the embedding of the one before it and layers add little, so the model
counts upwards from the prompt's last token. With a limit on tokens it says any number of distinct tokens, at the full
cost of every product: a text known beforehand without a word of it in the code that is timed.
"""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from scripts.make_checkpoint import SIZES, Size, config_values, write_tokenizer
from scripts.scripted_speech import TOKENS_PER_SECOND, speech
from steno.models.accelerator import make_pool, use_exact_float32
from steno.models.checkpoint import load_config
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.network import Network
from steno.models.numeric import NumericMode, choose_mode
from steno.models.packing import merge_network
from steno.models.recognizer import Recognizer
from steno.models.slot_pool import SlotPool
from steno.models.tokenizer import Tokenizer

Weights = Literal["plain", "scripted"]

TINY = Size(
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
    vocab=1024,
    positions=4096,
    conv_channels=8,
)
CPU_SLOTS = 24
QUIET = 0.01  # what a layer of scripted weights adds, against its input


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes recognizers for one device. `dtype` as in `numeric`; `tiny` in place of every true size."""

    device: str
    dtype: str
    tiny: bool = False

    def size(self, name: str) -> Size:
        return TINY if self.tiny else SIZES[name]

    def network(self, name: str, weights: Weights, *, dtype: str | None = None, device: str | None = None) -> Made:
        """Of a size of `make_checkpoint`, as it is loaded."""
        where = torch.device(device or self.device)
        mode = replace(choose_mode(dtype or self.dtype, where), packed=False)
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            size = self.size(name)
            ids = write_tokenizer(folder, "official", size.vocab)
            (folder / "config.json").write_text(json.dumps(config_values(size, "official", ids)))
            config, tokenizer = load_config(folder), Tokenizer.load(folder)
        with torch.device("meta"):
            network = Network(config).requires_grad_(False).eval()
        network.to(mode.weights).to_empty(device=where)
        network.tie()
        fill(network, weights)
        return Made(network, tokenizer, mode)

    def recognizer(
        self, name: str, weights: Weights, *, dtype: str | None = None, memory: int | None = None
    ) -> Recognizer:
        """The network of these words, ready for its device, with slots: of free memory or `memory` on CUDA."""
        return self.network(name, weights, dtype=dtype).recognizer(memory)


@dataclass(frozen=True, slots=True)
class Made:
    """A network as it is loaded, and what belongs to it."""

    network: Network
    tokenizer: Tokenizer
    mode: NumericMode

    def recognizer(self, memory: int | None = None) -> Recognizer:
        """Over this network, whose layers are merged as those of every network on an accelerator are."""
        network, mode = self.network, self.mode
        use_exact_float32(network.device)
        merge_network(network)
        on_cuda = network.device.type == "cuda"
        pool = make_pool(network, mode.cache, memory) if on_cuda else _cpu_pool(network, mode.cache)
        return Recognizer(network, self.tokenizer, name="random", mode=mode, pool=pool)

    def on(self, device: str) -> Made:
        """The same weights elsewhere."""
        return replace(self, network=copy.deepcopy(self.network).to(device))


def _cpu_pool(network: Network, dtype: torch.dtype) -> SlotPool:
    return SlotPool(network.config.decoder, CPU_SLOTS, dtype=dtype, device="cpu")


@torch.no_grad()
def fill(network: Network, weights: Weights) -> None:
    """Seeded values, the same whenever they are made on the same kind of device."""
    generator = torch.Generator(network.device).manual_seed(0)
    scripted = weights == "scripted"
    for name, parameter in network.named_parameters():
        parameter.normal_(generator=generator)
        if name.endswith(".bias"):
            parameter.mul_(0.1)
        elif parameter.dim() == 1:
            sharp = 2.0 if "q_norm" in name or "k_norm" in name else 1.0
            parameter.mul_(0.1).add_(1.0).mul_(sharp)
        elif "embed_tokens" in name or "lm_head" in name:
            parameter.mul_(1.0 if scripted else parameter.shape[1] ** -0.5)
        else:
            gain = 2.0 if name.startswith("model.") else 1.4
            if scripted and ("o_proj" in name or "down_proj" in name):
                gain *= QUIET
            parameter.mul_(gain * parameter[0].numel() ** -0.5)
    if scripted:
        head = network.model.embed_tokens.weight.roll(1, 0)
        assert isinstance(network.lm_head, nn.Linear)
        network.lm_head.weight = nn.Parameter(head, requires_grad=False)


def text_tokens(seconds: float) -> int:
    """What is said in so many seconds of the script."""
    return max(1, int(seconds * TOKENS_PER_SECOND))


def distinct_clips(count: int, seconds: float) -> list[Samples]:
    """Speech, another part of it in each, with noise of its own."""
    generator = np.random.default_rng(0)
    whole = speech(seconds + 60.0)
    length = round(seconds * SAMPLE_RATE)
    clips = []
    for index in range(count):
        start = index * 7919 % (60 * SAMPLE_RATE)
        noise = generator.standard_normal(length, dtype=np.float32) * np.float32(1e-3)
        clips.append(whole[start : start + length] + noise)
    return clips


def synchronize(device: str) -> None:
    """Wait for all work on the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
