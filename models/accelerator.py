"""What a recognizer sets up where it runs on an accelerator: slots from the memory there is, and graphs.

Knows torch's view of the device. Refuses to know streams; a CPU has nothing of this.
"""

from __future__ import annotations

import torch

from .graphs import CudaRecorder, Recorder
from .memory_budget import CONTEXT, cache_bytes
from .network import Network
from .slot_pool import SLOT_TOKENS, SlotPool, bytes_per_token

MOST_SLOTS = 1024
STREAM = 5 * 2**20  # bytes of an utterance's mel, conv outputs and encoder outputs, beside its slot


def make_pool(network: Network, dtype: torch.dtype, memory: int | None) -> SlotPool:
    """Slots for a network that is on its device already. `memory`: bytes that the process may take there in all,
    None: what is free. Raises ValueError when not one slot fits.
    """
    device, config = network.device, network.config.decoder
    torch.cuda.empty_cache()  # what loading left behind
    free, total = torch.cuda.mem_get_info(device)
    share = 1.0 if memory is None else min(1.0, max(0, memory - CONTEXT) / total)
    torch.cuda.set_per_process_memory_fraction(share, device)
    left = cache_bytes(free, torch.cuda.memory_reserved(device), memory)
    slots = left // (bytes_per_token(config, dtype) * SLOT_TOKENS + STREAM)
    if slots < 1:
        raise ValueError(f"no memory is left for streams: {left / 2**20:.0f}MiB, expected at least one slot")
    return SlotPool(config, min(MOST_SLOTS, slots), dtype=dtype, device=device)


def make_recorder(device: torch.device) -> Recorder | None:
    """What records graphs on `device`; None where there are none."""
    return CudaRecorder(device) if device.type == "cuda" else None


def use_exact_float32(device: torch.device) -> None:
    """Keep convolutions in float32 from being rounded to fewer bits, so that the device computes as a CPU does."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
