"""How much of an accelerator's memory the slots get.

Knows bytes. Refuses to know devices (the caller asks torch), models and sessions.
"""

from __future__ import annotations

CONTEXT = 640 * 2**20  # the driver's context and the kernels of the libraries, which torch does not count
WORKING = 1536 * 2**20  # activations of a pass and the pool of the graphs
SPARED = 0.05  # share of the free memory left alone where no cap was given


def cache_bytes(free: int, used: int, cap: int | None) -> int:
    """Bytes for the slots, the weights being loaded: `free` on the device, `used` by this process's tensors.

    `cap` bounds all that the process takes, context and working memory included. Raises ValueError when nothing is
    left, with the numbers.
    """
    left = int(free * (1 - SPARED)) - WORKING
    if cap is not None:
        left = min(left, cap - CONTEXT - WORKING - used)
    if left <= 0:
        bound = f"{_gib(free)} free" if cap is None else f"{_gib(free)} free and a cap of {_gib(cap)}"
        needed = _gib(used + CONTEXT + WORKING)
        raise ValueError(f"no memory is left for streams: {bound}, the model and its work take {needed}")
    return left


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}GiB"
