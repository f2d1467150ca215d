"""Linear maps of one input as one product: fewer and larger calls, which is what an accelerator wants."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MergedLinear(nn.Module):
    """The outputs of `linears`, side by side. All of them have a bias, or none."""

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        super().__init__()
        biases = [linear.bias for linear in linears if linear.bias is not None]
        self.weight = _side_by_side([linear.weight for linear in linears])
        self.bias = _side_by_side(biases) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def _side_by_side(parts: Sequence[Tensor]) -> nn.Parameter:
    whole = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    return nn.Parameter(whole.detach(), requires_grad=False)
