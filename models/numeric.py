"""Numeric modes: from the words of users to the number types of weights, activations and cache.

`float32` computes as the reference does. `bfloat16` and `int8` trade exactness for speed: on a CPU their linears are
packed for its kernels. Knows names, types and what this machine has; refuses to know weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

SMALL_MODEL = 100_000_000
"""Parameters below which `auto` stays with float32 on a CPU: nothing would be gained."""


@dataclass(frozen=True, slots=True)
class NumericMode:
    """How a network computes. `packed`: linears are replaced by ones packed for this CPU, see `packing`."""

    name: str
    weights: torch.dtype  # that parameters are loaded in, and of the embedding
    activations: torch.dtype
    cache: torch.dtype  # of the decoder's keys and values
    packed: bool = False


FLOAT32 = NumericMode("float32", torch.float32, torch.float32, torch.float32)
FLOAT16 = NumericMode("float16", torch.float16, torch.float16, torch.float16)
BFLOAT16 = NumericMode("bfloat16", torch.bfloat16, torch.bfloat16, torch.bfloat16)
PACKED_BFLOAT16 = NumericMode("bfloat16", torch.bfloat16, torch.bfloat16, torch.bfloat16, packed=True)
INT8 = NumericMode("int8", torch.bfloat16, torch.float32, torch.bfloat16, packed=True)
NAMES = ("float32", "bfloat16", "float16", "int8")


def choose_mode(dtype: str | torch.dtype, device: str | torch.device, parameters: int = 0) -> NumericMode:
    """The mode that `dtype` (a name of NAMES, `auto` or a torch type) means on `device`.

    `auto`: bfloat16 on an accelerator; on a CPU float32 for a model of few `parameters`, else bfloat16 where the CPU
    multiplies it natively, else int8. Raises ValueError for a name that is unknown or not for this device.
    """
    on_cpu = torch.device(device).type == "cpu"
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        name = _automatic(on_cpu, parameters)
    if name == "int8" and not on_cpu:
        raise ValueError(f"dtype int8 is for the CPU, expected float32, bfloat16 or float16 on {device}")
    modes = {
        "float32": FLOAT32,
        "float16": FLOAT16,
        "bfloat16": PACKED_BFLOAT16 if on_cpu and torch.backends.mkldnn.is_available() else BFLOAT16,
        "int8": INT8,
    }
    if name not in modes:
        raise ValueError(f"dtype is {str(dtype)!r}, expected auto, {', '.join(NAMES)}")
    return modes[name]


def _automatic(on_cpu: bool, parameters: int) -> str:
    if not on_cpu:
        return "bfloat16"
    if parameters < SMALL_MODEL:
        return "float32"
    return "bfloat16" if multiplies_bfloat16() else "int8"


def multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 dot products (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
