"""How much of an accelerator's memory the slots get: from the words of users, or from what is free.

Knows bytes. Refuses to know devices (the caller asks torch), models and sessions.
"""

from __future__ import annotations

import re

UNITS = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
LEAST = 2**30  # less than this holds no model worth an accelerator

CONTEXT = 640 * 2**20  # the driver's context and the kernels of the libraries, which torch does not count
WORKING = 1536 * 2**20  # activations of a pass and the pool of the graphs
SPARED = 0.05  # share of the free memory left alone where no cap was given


def parse_bytes(text: str) -> int:
    """Bytes of `8GiB`, `8000 MB` or `1.5gib`. Raises ValueError that names the text and what was expected."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"memory is {text!r}, expected a number and a unit, as in 8GiB or 8000MB")
    size = int(float(match[1]) * UNITS[match[2].upper()])
    if size < LEAST:
        raise ValueError(f"memory is {text!r}, expected at least 1GiB")
    return size


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
