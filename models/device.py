"""Where a model runs, from the words that users write. (How it computes there: `numeric`.)

Knows torch's names and what this machine has. Refuses to know models.
"""

import torch


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


def use_threads(count: int | None) -> None:
    """Compute on `count` CPU threads in this process from now on; None leaves torch's choice, one for each core."""
    if count is not None:
        torch.set_num_threads(count)
