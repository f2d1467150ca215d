"""Where a model runs and in which number type, from the words that users write.

Knows torch's names and what this machine has. Refuses to know models.
"""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
        raise ValueError(f"device is {name!r}, but torch sees {torch.cuda.device_count()} CUDA devices")
    return name


def choose_dtype(name: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 on CUDA and float32 elsewhere. Raises ValueError for another unknown name."""
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if name not in DTYPES:
        raise ValueError(f"dtype is {name!r}, expected auto, {', '.join(DTYPES)}")
    return DTYPES[name]
