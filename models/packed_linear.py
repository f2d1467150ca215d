"""Linear maps with weights packed once for the CPU's kernels: bfloat16 and int8.

A pack takes any number of `nn.Linear` with the same input and gives one map whose outputs stand side by side, so that
their weights are read in one call. int8 weights have one scale per output; activations are quantised as they come,
with one scale per row, so that a loud token costs its neighbours no precision. Knows no layers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

QUANTISE_ROWS = 8192  # weight rows quantised at a time: bounds the float32 copy

Pack = Callable[[Sequence[nn.Linear]], nn.Module]
"""Linears with one input -> one module, `[..., inputs]` -> `[..., sum of their outputs]`."""


class BFloat16Linear(nn.Module):
    """oneDNN's bfloat16 product over weights in its own blocked layout."""

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        super().__init__()
        weight, self.bias = _merged_weight(linears).bfloat16(), _merged_bias(linears, torch.bfloat16)
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return projected


class Int8Linear(nn.Module):
    """fbgemm's dynamic int8 product; float32 in and out.

    fbgemm takes one activation scale per call. Rows are brought to the same peak before it and back after it, which
    makes the scale one per row. A single row needs neither.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.bias = _merged_bias(linears, torch.float32)
        self._packed = _fbgemm_pack(*quantise_rows(_merged_weight(linears)))
        self._reduce_range = not torch.cpu._is_vnni_supported()  # 16-bit sums overflow without VNNI

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == x.shape[-1]:
            y: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._reduce_range)
            return y if self.bias is None else y + self.bias
        peaks = row_peaks(x)
        y = torch.ops.quantized.linear_dynamic(x / peaks, self._packed, self._reduce_range)
        return y.mul_(peaks) if self.bias is None else torch.addcmul(self.bias, y, peaks)


class PortableInt8Linear(nn.Module):
    """int8 weights and float activations, with torch's own kernels: for machines without fbgemm."""

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.bias = _merged_bias(linears, torch.float32)
        self._weight, self._scales = quantise_rows(_merged_weight(linears))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch._weight_int8pack_mm(x.flatten(0, -2), self._weight, self._scales).unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias


def has_fbgemm() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines


def pack_int8(linears: Sequence[nn.Linear]) -> nn.Module:
    """By fbgemm where this build of torch has it, else by the portable kernels."""
    return Int8Linear(linears) if has_fbgemm() else PortableInt8Linear(linears)


def row_peaks(x: Tensor) -> Tensor:
    """Largest magnitude of each row of x `[..., n]`: `[..., 1]`, never zero."""
    highest, lowest = x.amax(-1, keepdim=True), x.amin(-1, keepdim=True)
    return torch.maximum(highest, lowest.neg_()).clamp_min_(1e-12)


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 `[outputs, inputs]` and float32 scales `[outputs]` of a weight: symmetric, one scale per output."""
    quantised = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(weight.shape[0])
    for start in range(0, weight.shape[0], QUANTISE_ROWS):
        rows = weight[start : start + QUANTISE_ROWS].to(torch.float32, copy=True)
        peaks = row_peaks(rows)
        scales[start : start + QUANTISE_ROWS] = peaks[:, 0] / 127
        quantised[start : start + QUANTISE_ROWS] = rows.mul_(127 / peaks).round_().to(torch.int8)
    return quantised, scales


def _fbgemm_pack(quantised: Tensor, scales: Tensor) -> object:
    with _engine("fbgemm"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # eager quantisation is deprecated, its kernels have no successor of their speed
        zeros = torch.zeros(scales.shape, dtype=torch.long)
        weight = torch._make_per_channel_quantized_tensor(quantised, scales.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(weight, None)


@contextmanager
def _engine(name: str) -> Iterator[None]:
    """Packing goes by a setting of the process; running what was packed does not."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _merged_weight(linears: Sequence[nn.Linear]) -> Tensor:
    weights = [linear.weight.detach() for linear in linears]
    return weights[0] if len(weights) == 1 else torch.cat(weights)


def _merged_bias(linears: Sequence[nn.Linear], dtype: torch.dtype) -> Tensor | None:
    """All of the linears have a bias or none has."""
    biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
    return torch.cat(biases).to(dtype) if biases else None
