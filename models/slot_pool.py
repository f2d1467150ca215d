"""Keys and values of the decoder in one allocation, made once: the slots of an accelerator.

The same interface as `KVCache`, plus what a pass over many rows needs: where each slot begins, and the tensors of a
layer. A slot is a run of places; it starts as one unit of `slot_tokens` and takes the neighbours (or moves) when its
sequence grows longer, which live utterances do not. Nothing is allocated after the start, so a full pool is a clear
error and never a crash in the middle. Knows nothing of tokens or of what a sequence means.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import DecoderConfig

SLOT_TOKENS = 640  # 30 s of audio (390), prompt and 200 tokens of text


class CacheFull(RuntimeError):
    """No place is left for another sequence, or for a longer one."""


def bytes_per_token(config: DecoderConfig, dtype: torch.dtype) -> int:
    """Of keys and values of one token in all layers."""
    return config.layers * 2 * config.kv_heads * config.head_size * dtype.itemsize


class SlotPool:
    """`[layers, 2, places, kv_heads, head_size]`; the last place is scratch, where rows that are none may write."""

    def __init__(
        self,
        config: DecoderConfig,
        slots: int,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        slot_tokens: int = SLOT_TOKENS,
    ) -> None:
        """`slots` of `slot_tokens`. Raises ValueError for less than one slot or one token."""
        if slots < 1 or slot_tokens < 1:
            raise ValueError(f"{slots} slots of {slot_tokens} tokens: expected at least 1 of 1")
        self.slots = slots
        self.slot_tokens = slot_tokens
        self.scratch = slots * slot_tokens
        shape = (config.layers, 2, self.scratch + 1, config.kv_heads, config.head_size)
        self._buffer = torch.zeros(shape, dtype=dtype, device=device)
        self._max_positions = config.max_positions
        self._owners: list[int | None] = [None] * slots  # of each unit
        self._units: dict[int, range] = {}
        self._lengths: dict[int, int] = {}
        self._next = 0

    @property
    def dtype(self) -> torch.dtype:
        return self._buffer.dtype

    @property
    def open_slots(self) -> int:
        return len(self._units)

    @property
    def free_slots(self) -> int:
        """Sequences of `slot_tokens` that could still be opened."""
        return self._owners.count(None)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that an empty pool can hold."""
        return min(self.scratch, self._max_positions)

    @property
    def reserved_bytes(self) -> int:
        return self._buffer.nbytes

    def open(self) -> int:
        """Make an empty slot and return its number. Raises CacheFull."""
        if None not in self._owners:
            raise CacheFull(f"all {self.slots} slots of the device's memory are in use")
        unit = self._owners.index(None)
        slot = self._next
        self._next += 1
        self._take(slot, range(unit, unit + 1))
        self._lengths[slot] = 0
        return slot

    def close(self, slot: int) -> None:
        """Free `slot`; its number is not used again. KeyError when it is not open."""
        del self._lengths[slot]
        for unit in self._units.pop(slot):
            self._owners[unit] = None

    def length(self, slot: int) -> int:
        return self._lengths[slot]

    def start(self, slot: int) -> int:
        """The place of the slot's first token; `reserve` may change it."""
        return self._units[slot].start * self.slot_tokens

    def capacity(self, slot: int) -> int:
        """Tokens that fit without another `reserve`."""
        return len(self._units[slot]) * self.slot_tokens

    def free_starts(self) -> list[int]:
        """First places of the units that no slot has."""
        return [unit * self.slot_tokens for unit, owner in enumerate(self._owners) if owner is None]

    def truncate(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens. ValueError when the slot holds fewer."""
        if not 0 <= length <= self._lengths[slot]:
            raise ValueError(f"cannot cut slot {slot} of {self._lengths[slot]} tokens to {length}: expected fewer")
        self._lengths[slot] = length

    def reserve(self, slot: int, count: int) -> None:
        """Make room for `count` more tokens; to be called before they are written.

        Raises CacheFull when no run of places is that long, ValueError when the model has not so many positions.
        """
        needed = self._lengths[slot] + count
        if needed > self._max_positions:
            raise ValueError(f"sequence of {needed} tokens: the model has {self._max_positions} positions")
        if needed <= self.capacity(slot):
            return
        was = self._units[slot]
        new = self._find_run(slot, -(-needed // self.slot_tokens), prefer=was.start)
        if new is None:
            raise CacheFull(f"no room for a sequence of {needed} tokens: {self.free_slots} of {self.slots} slots free")
        if new.start != was.start:
            self._move(was.start * self.slot_tokens, new.start * self.slot_tokens, self._lengths[slot])
        for unit in was:
            self._owners[unit] = None
        self._take(slot, new)

    def write(self, layer: int, slot: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values `[n, kv_heads, head_size]` behind the slot's length in one layer.

        Returns views of all of them, `[kv_heads, length + n, head_size]`. The length moves only with `advance`.
        """
        start = self.start(slot)
        begin = start + self._lengths[slot]
        end = begin + keys.shape[0]
        buffer = self._buffer[layer]
        buffer[0, begin:end] = keys
        buffer[1, begin:end] = values
        return buffer[0, start:end].transpose(0, 1), buffer[1, start:end].transpose(0, 1)

    def advance(self, slot: int, count: int) -> None:
        """Count the `count` tokens just written as part of the sequence."""
        self._lengths[slot] += count

    def keys(self, layer: int) -> Tensor:
        """All keys of a layer, `[places, kv_heads, head_size]`."""
        return self._buffer[layer, 0]

    def values(self, layer: int) -> Tensor:
        return self._buffer[layer, 1]

    def put(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write keys and values `[n, kv_heads, head_size]` to `places` int64 `[n]`, of any slots."""
        self._buffer[layer, 0].index_copy_(0, places, keys.to(self.dtype))
        self._buffer[layer, 1].index_copy_(0, places, values.to(self.dtype))

    def _take(self, slot: int, units: range) -> None:
        self._units[slot] = units
        for unit in units:
            self._owners[unit] = slot

    def _find_run(self, slot: int, count: int, *, prefer: int) -> range | None:
        """The first run of `count` units that are free or the slot's own; where it is now, if that can grow."""
        for first in (prefer, *range(self.slots - count + 1)):
            run = range(first, first + count)
            if run.stop <= self.slots and all(self._owners[unit] in (None, slot) for unit in run):
                return run
        return None

    def _move(self, source: int, target: int, count: int) -> None:
        """Source and target may overlap."""
        self._buffer[:, :, target : target + count] = self._buffer[:, :, source : source + count].clone()
