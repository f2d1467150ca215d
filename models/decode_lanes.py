"""Greedy decoding that feeds itself: several steps for many rows without a word from the host.

A lane is one row's place in fixed tensors: its last token, where its keys begin, how many it has, how many tokens it
may still say. `run` takes `steps` steps: embed the last tokens, run the layers, choose, write down what was chosen,
stop lanes at an end token or a bound. So the same run may be recorded as a graph, and what it computes is the same
without. Knows tokens and places; refuses to know drafts, loops and rows of the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .layers import rope_tables
from .network import Network
from .packed_attention import Lanes, PackedAttention
from .packed_pass import NOTHING
from .slot_pool import SlotPool


class RopeTable:
    """cos and sin `[positions, 1, head_size]` of every position that a slot can have."""

    def __init__(self, network: Network, positions: int) -> None:
        index = torch.arange(positions, device=network.device)
        self.cos, self.sin = rope_tables(index, network.config.decoder, network.dtype)

    def rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Tables of int64 `positions` `[n]`."""
        return self.cos.index_select(0, positions), self.sin.index_select(0, positions)


class DecodeLanes:
    """`width` lanes, none with more than `longest` tokens. A graph's `Program`."""

    def __init__(
        self,
        network: Network,
        pool: SlotPool,
        rope: RopeTable,
        attention: PackedAttention,
        end_ids: Sequence[int],
        *,
        width: int,
        longest: int,
        steps: int,
    ) -> None:
        self._network = network
        self._pool = pool
        self._rope = rope
        self._attention = attention
        device = network.device

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.width = width
        self.longest = longest
        self.steps = steps
        self.tokens = zeros(width)  # the last of each lane: said, and not in its slot yet
        self.lengths = zeros(width)  # tokens in the slot
        self.starts = zeros(width + 1)  # the slot's first place
        self.tokens_left = zeros(width)  # to be said at most, and room in the slot: 0 where the lane has stopped
        self.chosen = zeros(steps, width)
        self.logprobs = zeros(steps, width, dtype=torch.float32)
        self._ends = torch.tensor(sorted(end_ids), device=device)
        self._each = torch.arange(width + 1, dtype=torch.int32, device=device)

    @property
    def inputs(self) -> list[Tensor]:
        return [self.tokens, self.lengths, self.starts, self.tokens_left]

    @property
    def outputs(self) -> list[Tensor]:
        return [self.chosen, self.logprobs, *self.inputs]

    def seat(self, tokens: Tensor, lengths: Tensor, starts: Tensor, tokens_left: Tensor) -> None:
        """Put rows (int64 `[n]` each, n <= width) into the first lanes; the others are stopped."""
        count = tokens.shape[0]
        for lane, values in zip(self.inputs, (tokens, lengths, starts, tokens_left), strict=True):
            lane.zero_()
            lane[:count].copy_(values)

    def run(self) -> None:
        """Take all steps. Results: `chosen` and `logprobs` `[steps, width]`, NOTHING where the lane had stopped."""
        key_starts = self.starts.to(torch.int32)
        for step in range(self.steps):
            self._step(step, key_starts)

    def _step(self, step: int, key_starts: Tensor) -> None:
        decoder, pool = self._network.model, self._pool
        going = self.tokens_left > 0
        places = torch.where(going, self.starts[:-1] + self.lengths, pool.scratch)
        lanes = Lanes(self._each, key_starts, (self.lengths + going).clamp(min=1).to(torch.int32), self.longest)
        x = decoder.embed_tokens(self.tokens).to(self._network.dtype)
        cos, sin = self._rope.rows(self.lengths)
        for index, layer in enumerate(decoder.layers):

            def attend(q: Tensor, k: Tensor, v: Tensor, index: int = index) -> Tensor:
                pool.put(index, places, k, v)
                return self._attention.lanes(q, pool.keys(index), pool.values(index), lanes)

            x = layer(x, cos, sin, attend)
        token, logprob = best_tokens(self._network, decoder.norm(x))
        self.chosen[step].copy_(torch.where(going, token, NOTHING))
        self.logprobs[step].copy_(logprob)
        self.lengths.add_(going)
        self.tokens.copy_(torch.where(going, token, self.tokens))
        ended = (token[:, None] == self._ends).any(1)
        self.tokens_left.copy_(torch.where(ended, 0, self.tokens_left - going.long()))


def best_tokens(network: Network, states: Tensor) -> tuple[Tensor, Tensor]:
    """The best token after each of `states` `[n, hidden]`, int64 `[n]`, and its log-probability float32 `[n]`."""
    scored = network.score(states)
    chosen = scored.scores.gather(1, scored.choices[:, None])[:, 0]
    return scored.choices, chosen - scored.scores.logsumexp(1)
