"""Keys and values of the decoder: slots of their own length, opened, appended to, cut back and closed.

A slot is one sequence. Its buffer grows by doubling and is kept for the next slot when it closes, so memory follows the
largest set of sequences that were open together. Knows nothing of tokens or of what a sequence means.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .config import DecoderConfig

MIN_CAPACITY = 256  # tokens


class Slots(Protocol):
    """What the decoder asks of a cache, whoever keeps it; see `KVCache`."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def open_slots(self) -> int: ...

    @property
    def reserved_bytes(self) -> int: ...

    def open(self) -> int: ...

    def close(self, slot: int) -> None: ...

    def length(self, slot: int) -> int: ...

    def truncate(self, slot: int, length: int) -> None: ...

    def reserve(self, slot: int, count: int) -> None: ...

    def write(self, layer: int, slot: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]: ...

    def advance(self, slot: int, count: int) -> None: ...


class KVCache:
    """Slots of `[layers, 2, kv_heads, capacity, head_size]`."""

    def __init__(
        self,
        config: DecoderConfig,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        spare_slots: int = 4,
    ) -> None:
        self._config = config
        self._dtype = dtype
        self._device = device
        self._spare_slots = spare_slots
        self._spare: list[Tensor] = []
        self._buffers: dict[int, Tensor] = {}
        self._lengths: dict[int, int] = {}
        self._next = 0

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def open_slots(self) -> int:
        return len(self._buffers)

    @property
    def reserved_bytes(self) -> int:
        """Bytes held by open and spare buffers."""
        buffers = [*self._buffers.values(), *self._spare]
        return sum(buffer.numel() * buffer.element_size() for buffer in buffers)

    def open(self) -> int:
        """Make an empty slot and return its number."""
        slot = self._next
        self._next += 1
        self._buffers[slot] = self._spare.pop() if self._spare else self._allocate(MIN_CAPACITY)
        self._lengths[slot] = 0
        return slot

    def close(self, slot: int) -> None:
        """Free `slot`; its number is not used again. KeyError when it is not open."""
        buffer = self._buffers.pop(slot)
        del self._lengths[slot]
        if len(self._spare) < self._spare_slots:
            self._spare.append(buffer)

    def length(self, slot: int) -> int:
        return self._lengths[slot]

    def truncate(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens. ValueError when the slot holds fewer."""
        if not 0 <= length <= self._lengths[slot]:
            raise ValueError(f"cannot cut slot {slot} of {self._lengths[slot]} tokens to {length}: expected fewer")
        self._lengths[slot] = length

    def reserve(self, slot: int, count: int) -> None:
        """Make room for `count` more tokens; to be called before they are written."""
        buffer = self._buffers[slot]
        needed = self._lengths[slot] + count
        capacity = buffer.shape[3]
        if needed > capacity:
            while capacity < needed:
                capacity *= 2
            grown = self._allocate(capacity)
            used = self._lengths[slot]
            grown[:, :, :, :used] = buffer[:, :, :, :used]
            self._buffers[slot] = grown

    def write(self, layer: int, slot: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values `[n, kv_heads, head_size]` behind the slot's length in one layer.

        Returns views of all of them, `[kv_heads, length + n, head_size]`. The length moves only with `advance`, once
        every layer has written.
        """
        start = self._lengths[slot]
        end = start + keys.shape[0]
        buffer = self._buffers[slot][layer]
        buffer[0, :, start:end] = keys.transpose(0, 1)
        buffer[1, :, start:end] = values.transpose(0, 1)
        return buffer[0, :, :end], buffer[1, :, :end]

    def advance(self, slot: int, count: int) -> None:
        """Count the `count` tokens just written as part of the sequence."""
        self._lengths[slot] += count

    def _allocate(self, capacity: int) -> Tensor:
        shape = (self._config.layers, 2, self._config.kv_heads, capacity, self._config.head_size)
        return torch.empty(shape, dtype=self._dtype, device=self._device)  # pages come with the tokens
