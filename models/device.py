"""Where a model runs and how much it may take there, from the words that users write. (How it computes: `numeric`.)

Knows torch's names and what this machine has. Refuses to know models.
"""

import re

import torch

UNITS = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
LEAST = 2**30  # less than this holds no model worth an accelerator


def choose_device(name: str = "auto") -> str:
    """`auto` is `cuda` where there is one, else `cpu`; any other name is checked and returned.

    Raises ValueError for a name that torch does not know or a device that is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        build = "" if torch.version.cuda else f" (torch {torch.__version__} is built without CUDA)"
        raise ValueError(f"device is {name!r}, but torch sees {torch.cuda.device_count()} CUDA devices{build}")
    return name


def use_threads(count: int | None) -> None:
    """Compute on `count` CPU threads in this process from now on; None leaves torch's choice, one for each core."""
    if count is not None:
        torch.set_num_threads(count)


def parse_bytes(text: str) -> int:
    """Bytes of `8GiB`, `8000 MB` or `1.5gib`. Raises ValueError that names the text and what was expected."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"memory is {text!r}, expected a number and a unit, as in 8GiB or 8000MB")
    size = int(float(match[1]) * UNITS[match[2].upper()])
    if size < LEAST:
        raise ValueError(f"memory is {text!r}, expected at least 1GiB")
    return size
