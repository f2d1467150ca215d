"""Many small integer arrays to a device in one copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(arrays: Sequence[Sequence[int] | NDArray[np.int64]], device: torch.device) -> list[Tensor]:
    """int64 tensors `[n]` on `device`, one for each array. On CUDA the copy does not wait for what runs there."""
    whole = torch.from_numpy(np.concatenate([np.asarray(array, np.int64) for array in arrays]))
    if device.type == "cuda":
        whole = whole.pin_memory()
    return list(whole.to(device, non_blocking=True).split([len(array) for array in arrays]))
