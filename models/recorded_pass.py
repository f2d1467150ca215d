"""The decoder's layers over a packed pass, recorded for common sizes, so that a small pass is not all launches.

A program has room for so many tokens and rows; what a pass leaves empty is tokens of no row, whose keys go to the
scratch place. Only for an attention that reads lengths on the device. Knows packed passes; refuses to know drafts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from .decode_lanes import RopeTable
from .graphs import GraphMismatch, Recorder, Replay, bucket, capture
from .network import Network
from .packed_attention import PackedAttention, PackedRows
from .packed_pass import PackedPass
from .slot_pool import SlotPool
from .upload import upload

logger = logging.getLogger(__name__)

SIZES = (256, 512, 1024, 2048)  # tokens; beyond, the device is busy for longer than launching takes
ROWS = 64


def pass_states(
    network: Network,
    pool: SlotPool,
    attention: PackedAttention,
    x: Tensor,
    rope: tuple[Tensor, Tensor],
    places: Tensor,
    rows: PackedRows,
) -> Tensor:
    """Normed states of packed embeddings `[t, hidden]`, whose keys and values are put to `places` of the pool."""
    for index, layer in enumerate(network.model.layers):

        def attend(q: Tensor, k: Tensor, v: Tensor, index: int = index) -> Tensor:
            pool.put(index, places, k, v)
            return attention.rows(q, pool.keys(index), pool.values(index), rows)

        x = layer(x, *rope, attend)
    states: Tensor = network.model.norm(x)
    return states


class PassProgram:
    """A pass of `size` tokens in ROWS rows at most, none longer than a slot. A graph's `Program`."""

    def __init__(
        self, network: Network, pool: SlotPool, rope: RopeTable, attention: PackedAttention, size: int
    ) -> None:
        self._network = network
        self._pool = pool
        self._rope = rope
        self._attention = attention
        self._filled = size
        device = network.device
        self._x = torch.zeros(size, network.config.decoder.hidden_size, dtype=network.dtype, device=device)
        self._positions = torch.zeros(size, dtype=torch.int64, device=device)
        self._places = torch.full_like(self._positions, pool.scratch)
        self._query_ends = torch.zeros(ROWS + 1, dtype=torch.int32, device=device)
        self._key_starts = torch.zeros_like(self._query_ends)
        self._key_counts = torch.ones(ROWS, dtype=torch.int32, device=device)
        self._states = torch.zeros_like(self._x)

    @property
    def inputs(self) -> list[Tensor]:
        return [self._x, self._positions, self._places, self._query_ends, self._key_starts, self._key_counts]

    @property
    def outputs(self) -> list[Tensor]:
        return [self._states[: self._filled]]

    def load(self, x: Tensor, positions: Tensor, places: Tensor, rows: PackedRows) -> None:
        """Put a pass in: x `[t, hidden]`, the others as in `PackedPass`."""
        tokens, count = x.shape[0], len(rows.counts)
        self._filled = tokens
        self._x[:tokens].copy_(x)
        self._positions[:tokens].copy_(positions)
        self._places.fill_(self._pool.scratch)
        self._places[:tokens].copy_(places)
        self._query_ends.fill_(tokens)  # the other rows are empty
        self._query_ends[: count + 1].copy_(rows.query_ends)
        self._key_starts[: count + 1].copy_(rows.key_starts)
        self._key_counts.fill_(1)
        self._key_counts[:count].copy_(rows.key_counts)

    def run(self) -> None:
        most = [self._pool.slot_tokens]
        rows = PackedRows(most, [0], most, self._query_ends, self._key_starts, self._key_counts)
        rope = self._rope.rows(self._positions)
        self._states.copy_(pass_states(self._network, self._pool, self._attention, self._x, rope, self._places, rows))


class RecordedPasses:
    """Programs by size, recorded when warmed up."""

    def __init__(
        self,
        network: Network,
        pool: SlotPool,
        rope: RopeTable,
        attention: PackedAttention,
        recorder: Recorder,
        sizes: Sequence[int] = SIZES,
    ) -> None:
        self._network = network
        self._pool = pool
        self._rope = rope
        self._attention = attention
        self._recorder = recorder
        self._sizes = sizes
        self._programs: dict[int, tuple[PassProgram, Replay]] = {}

    @property
    def graphs(self) -> int:
        return len(self._programs)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Record every size that the free slots can be tried on."""
        for size in reversed(self._sizes):
            starts = self._pool.free_starts()[: -(-size // self._pool.slot_tokens)]
            if size in self._programs or len(starts) * self._pool.slot_tokens < size:
                continue
            program = PassProgram(self._network, self._pool, self._rope, self._attention, size)
            self._fill(program, size, starts)
            try:
                self._programs[size] = (program, capture(program, self._recorder))
            except GraphMismatch:
                logger.exception("the graph of a pass of %d tokens is not used", size)

    def states(self, x: Tensor, packed: PackedPass) -> Tensor | None:
        """Normed states of a pass, good until the next; None where no program fits."""
        size = bucket(x.shape[0], self._sizes)
        rows = packed.rows
        if size not in self._programs or len(rows.counts) > ROWS or max(rows.used) > self._pool.slot_tokens:
            return None
        program, replay = self._programs[size]
        program.load(x, packed.positions, packed.places, rows)
        replay()
        return program.outputs[0]

    def _fill(self, program: PassProgram, size: int, starts: Sequence[int]) -> None:
        """A pass of exactly `size` tokens over unused slots."""
        share = -(-size // len(starts))
        counts = [min(share, size - first) for first in range(0, size, share)]
        device = self._network.device
        positions = [position for count in counts for position in range(count)]
        places = [start + at for start, count in zip(starts, counts, strict=True) for at in range(count)]
        ends = [sum(counts[:index]) for index in range(len(counts) + 1)]
        tokens = [index * 7919 % self._network.config.decoder.vocab_size for index in range(size)]
        sent = upload([tokens, positions, places, ends, [*starts, 0], counts], device)
        rows = PackedRows(counts, starts, counts, sent[3].int(), sent[4].int(), sent[5].int())
        program.load(self._network.model.embed_tokens(sent[0]).to(self._network.dtype), sent[1], sent[2], rows)
