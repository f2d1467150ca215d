"""Turn a loaded network into one for the kernels of its device: linears packed or merged, each original dropped as it
goes.

The peak is one network and one layer: nothing is held twice, and pages of the checkpoint's file are let go once their
weights are packed. A packed network has the maths of its mode, no parameters to train, and is not for saving.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from .checkpoint import load_config, load_network
from .encoder import AudioEncoder
from .file_rows import FileRows
from .host_memory import release_file_pages, use_huge_pages
from .layers import DecoderLayer, EncoderLayer
from .merged_linear import MergedLinear
from .network import Network, parameter_count
from .numeric import NumericMode, choose_mode, multiplies_bfloat16
from .packed_layers import PackedDecoderLayer, PackedEncoderLayer
from .packed_linear import BFloat16Linear, Pack, pack_int8
from .vocabulary import RescoredHead

PACKS: dict[str, Pack] = {"bfloat16": BFloat16Linear, "int8": pack_int8}


def load_ready(folder: Path, *, device: str, dtype: str | torch.dtype) -> tuple[Network, NumericMode]:
    """Load the network of a checkpoint folder in the mode that `dtype` means there, see `numeric.choose_mode`.

    Raises CheckpointError, ValueError for the mode.
    """
    mode = choose_mode(dtype, device, parameter_count(load_config(folder)))
    network = load_network(folder, device=device, dtype=mode.weights)
    if mode.packed:
        pack_network(network, mode)
    elif network.device.type == "cuda":
        merge_network(network)
    return network, mode


@torch.inference_mode(False)
def merge_network(network: Network) -> None:
    """Let the layers of `network` take fewer and larger steps, in the type they have. Not the encoder's in float16,
    whose own layers keep activations off infinity.
    """
    layers, encoder = network.model.layers, network.audio_tower
    for convolution in (encoder.conv2d2, encoder.conv2d3):  # the layout of the libraries' fast convolutions
        weight = convolution.weight.detach().contiguous(memory_format=torch.channels_last)
        convolution.weight = nn.Parameter(weight, requires_grad=False)
    for index, layer in enumerate(layers):
        assert isinstance(layer, DecoderLayer)
        layers[index] = PackedDecoderLayer(layer, MergedLinear, network.dtype)
    for index, layer in enumerate(encoder.layers if network.dtype != torch.float16 else ()):
        assert isinstance(layer, EncoderLayer)
        encoder.layers[index] = PackedEncoderLayer(layer, MergedLinear, network.dtype)


@torch.inference_mode()
def pack_network(network: Network, mode: NumericMode) -> None:
    """Replace the linears of `network`, loaded in `mode.weights`, by packed ones. ValueError for a mode without any."""
    if mode.name not in PACKS or not mode.packed:
        raise ValueError(f"mode {mode.name} packs nothing: expected {' or '.join(PACKS)}")
    pack = PACKS[mode.name]
    _pack_head(network, pack, mode)
    decoder = network.model
    for index, layer in enumerate(decoder.layers):
        assert isinstance(layer, DecoderLayer)
        decoder.layers[index] = PackedDecoderLayer(layer, pack, mode.activations)
        release_file_pages(layer.parameters())
    decoder.norm.to(mode.activations)
    _pack_encoder(network.audio_tower, pack, mode)
    use_huge_pages()


def _pack_head(network: Network, pack: Pack, mode: NumericMode) -> None:
    """The embedding stays in its file, and so do the rows that rescore."""
    head, weight = network.lm_head, network.model.embed_tokens.weight
    assert isinstance(head, nn.Linear)
    network.model.embed_tokens = embedding = FileRows(weight)
    if mode.name == "int8":
        rows = embedding if head.weight is weight else FileRows(head.weight)
        network.lm_head = RescoredHead(head, pack, rows)
    else:
        network.lm_head = pack((head,))
    release_file_pages((head.weight, weight))


def _pack_encoder(encoder: AudioEncoder, pack: Pack, mode: NumericMode) -> None:
    convolutions: Sequence[nn.Conv2d] = (encoder.conv2d1, encoder.conv2d2, encoder.conv2d3)
    dtype = torch.bfloat16 if multiplies_bfloat16() else torch.float32
    for convolution in convolutions:
        weight = convolution.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        convolution.to(dtype).weight = nn.Parameter(weight, requires_grad=False)
    encoder.conv_out = _packed(encoder.conv_out, pack)
    encoder.proj1 = _packed(encoder.proj1, pack)
    encoder.proj2 = _packed(encoder.proj2, pack)
    for index, layer in enumerate(encoder.layers):
        assert isinstance(layer, EncoderLayer)
        encoder.layers[index] = PackedEncoderLayer(layer, pack, mode.activations)
        release_file_pages(layer.parameters())
    encoder.ln_post.to(mode.activations)


def _packed(linear: nn.Module, pack: Pack) -> nn.Module:
    assert isinstance(linear, nn.Linear)
    packed = pack((linear,))
    release_file_pages(linear.parameters())
    return packed
