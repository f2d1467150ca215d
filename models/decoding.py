"""Greedy decoding of many rows in shared passes, with drafts that are checked instead of believed.

A row's pass holds its new input (audio, prompt suffix, or the token just decided) and an offer: tokens of the previous
hypothesis that may follow. The longest prefix of the offer that the model's own argmax confirms is accepted, so the
result is that of greedy decoding from scratch. Knows no audio and no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .decoder import Row
from .kv_cache import Slots
from .network import Network
from .repetition import find_loop
from .vocabulary import Position, choose

LOOKUP_MATCH = 2  # tokens that must meet the previous hypothesis before its rest is offered again
LOOKUP_REACH = 8  # how far from the same place they may meet it
LOOKUP_FIRST_OFFER = 6  # tokens; a pass of this many costs little more than a pass of one

Allowed = Callable[[Sequence[int]], Sequence[int] | None]
"""Tokens generated so far -> ids that may follow, or None for any."""


@dataclass(slots=True)
class DecoderCounters:
    """Work done, in tokens."""

    prefilled: int = 0  # audio, prompt and pinned tokens
    offered: int = 0  # draft tokens run for checking
    accepted: int = 0  # of these, confirmed
    decoded: int = 0  # tokens fed back one at a time
    passes: int = 0


@dataclass(slots=True, eq=False)
class DecodeRow:
    """One sequence to decode, behind what `slot` holds.

    `limit` bounds the tokens generated. `pinned` tokens are taken as generated whatever the model says; `previous` is
    the hypothesis to draft from (it begins with the pinned ones, if any). Where `previous_logprobs` is given, tokens of
    it that are confirmed keep those instead of having new ones computed.
    """

    slot: int
    limit: int
    previous: Sequence[int] = ()
    pinned: int = 0
    allowed: Allowed | None = None
    previous_logprobs: Sequence[float] = ()
    counters: DecoderCounters = field(default_factory=DecoderCounters)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    truncated: bool = False
    looped: bool = False
    done: bool = False
    offer: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.offer = self.previous[: self.limit]
        self.done = self.limit < 1
        self.truncated = self.done

    def accept(self, greedy: Sequence[int], logprobs: Sequence[float], end_ids: frozenset[int]) -> int:
        """Take what one pass confirmed: `greedy[i]` is the model's choice after `i` tokens of the offer.

        Returns how many offered tokens were accepted. The last of `tokens`, if the row is not done, is new: it is the
        next pass's input.
        """
        accepted = 0
        for index, (choice, logprob) in enumerate(zip(greedy, logprobs, strict=True)):
            pinned = len(self.tokens) < self.pinned
            token = self.offer[index] if pinned else choice
            if token in end_ids and not pinned:
                self.done = True
                break
            self.tokens.append(token)
            self.logprobs.append(logprob)
            confirmed = index < len(self.offer) and token == self.offer[index]
            accepted += confirmed
            self.counters.accepted += confirmed and not pinned
            if self._must_stop() or not confirmed:
                break
        return accepted

    def _must_stop(self) -> bool:
        keep = find_loop(self.tokens)
        if keep is not None:
            keep = max(keep, self.pinned)
            del self.tokens[keep:], self.logprobs[keep:]
            self.looped = True
        if keep is not None or len(self.tokens) >= self.limit:
            self.done = self.truncated = True
        return self.done

    def next_offer(self, accepted_all: bool) -> None:
        """Offer the rest of the previous hypothesis again where the new tokens have met it (prompt lookup)."""
        size = 2 * max(len(self.offer), LOOKUP_FIRST_OFFER) if accepted_all else LOOKUP_FIRST_OFFER
        self.offer = self.rest_of_previous()[:size]

    def rest_of_previous(self) -> Sequence[int]:
        """What followed in the previous hypothesis where the new tokens have met it, within the limit; else nothing."""
        here = len(self.tokens)
        if here < LOOKUP_MATCH:
            return ()
        tail = self.tokens[-LOOKUP_MATCH:]
        for shift in sorted(range(-LOOKUP_REACH, LOOKUP_REACH + 1), key=abs):
            place = here + shift
            if place >= LOOKUP_MATCH and list(self.previous[place - LOOKUP_MATCH : place]) == tail:
                return self.previous[place : place + self.limit - here]
        return ()


@dataclass(frozen=True, slots=True)
class RowInput:
    """What is put behind a row's slot before it decodes: tokens, audio `[n, hidden]` each, tokens; not nothing."""

    before: Sequence[int] = ()
    audio: Sequence[Tensor] = ()
    after: Sequence[int] = ()

    @property
    def audio_tokens(self) -> int:
        return sum(piece.shape[0] for piece in self.audio)

    @property
    def tokens(self) -> int:
        return len(self.before) + self.audio_tokens + len(self.after)


def embed_input(network: Network, given: RowInput) -> Tensor:
    """Embeddings `[n, hidden]` of an input."""
    embed = network.model.embed_tokens
    before, after = (torch.tensor(ids, dtype=torch.long, device=network.device) for ids in (given.before, given.after))
    return torch.cat((embed(before), *given.audio, embed(after)))


def count_input(row: DecodeRow, given: RowInput) -> None:
    """Count what a row's first pass computes."""
    row.counters.prefilled += given.tokens + min(row.pinned, len(row.offer))
    row.counters.offered += max(0, len(row.offer) - row.pinned)


class Decoder(Protocol):
    """Decodes every row to its end token, its limit or a loop, behind what its slot holds and its input.

    Slots are left holding the input and part of the tokens; the caller cuts them back.
    """

    def decode(self, rows: Sequence[DecodeRow], inputs: Sequence[RowInput]) -> None: ...

    def warm_up(self) -> None:
        """Do what would delay the first rows."""


class HostDecoder:
    """Choices made on the host, a pass for each token: what a CPU wants."""

    def __init__(self, network: Network, cache: Slots, end_ids: frozenset[int]) -> None:
        self._network = network
        self._cache = cache
        self._end_ids = end_ids

    def decode(self, rows: Sequence[DecodeRow], inputs: Sequence[RowInput]) -> None:
        for row, given in zip(rows, inputs, strict=True):
            count_input(row, given)
        decode(self._network, self._cache, rows, [embed_input(self._network, each) for each in inputs], self._end_ids)

    def warm_up(self) -> None:
        pass


def decode(
    network: Network, cache: Slots, rows: Sequence[DecodeRow], inputs: Sequence[Tensor], end_ids: frozenset[int]
) -> None:
    """Decode every row to its end token, its limit or a loop.

    `inputs` are the embeddings `[n, hidden]` (n >= 1) to put behind each row's slot first. Slots are left holding the
    input and part of the tokens; the caller cuts them back.
    """
    alive = [(row, x) for row, x in zip(rows, inputs, strict=True) if not row.done]
    while alive:
        run_pass(network, cache, [row for row, _ in alive], [x for _, x in alive], end_ids)
        going = [row for row, _ in alive if not row.done]
        if not going:
            return
        last = torch.tensor([row.tokens[-1] for row in going], device=alive[0][1].device)
        alive = list(zip(going, network.model.embed_tokens(last).split(1), strict=True))
        for row in going:
            row.counters.decoded += 1
            row.counters.offered += len(row.offer)


def run_pass(
    network: Network, cache: Slots, rows: Sequence[DecodeRow], inputs: Sequence[Tensor], end_ids: frozenset[int]
) -> None:
    """One packed pass over [input | offer] of each row; leaves in each slot the input and the accepted tokens."""
    offers = [list(row.offer) for row in rows]
    offered = torch.tensor([token for offer in offers for token in offer], dtype=torch.long, device=inputs[0].device)
    drafts = network.model.embed_tokens(offered).split([len(offer) for offer in offers])
    packed = torch.cat([part for pair in zip(inputs, drafts, strict=True) for part in pair])
    lengths = [x.shape[0] + len(offer) for x, offer in zip(inputs, offers, strict=True)]
    states = network.model(packed, [Row(row.slot, n) for row, n in zip(rows, lengths, strict=True)], cache)
    positions = [_positions(row) for row in rows]
    scored = [part[-len(places) :] for part, places in zip(states.split(lengths), positions, strict=True)]
    choices = iter(choose(network.score, torch.cat(scored), [place for places in positions for place in places]))
    for row, offer, places in zip(rows, offers, positions, strict=True):
        chosen = [next(choices) for _ in places]
        logprobs = [
            row.previous_logprobs[index] if choice.logprob is None else choice.logprob
            for index, choice in enumerate(chosen)
        ]
        accepted = row.accept([choice.token for choice in chosen], logprobs, end_ids)
        row.counters.passes += 1
        cache.truncate(row.slot, cache.length(row.slot) - (len(offer) - min(accepted, len(offer))))
        row.next_offer(accepted_all=bool(offer) and accepted == len(offer))


def _positions(row: DecodeRow) -> list[Position]:
    """Where this pass chooses a token for `row`: after each token of its offer, supposing those before it hold."""
    positions = []
    tokens, restricted = list(row.tokens), row.allowed is not None
    known = len(row.previous_logprobs) if not tokens else 0  # only the first offer is the previous hypothesis in place
    for index in range(len(row.offer) + 1):
        expected = row.offer[index] if index < len(row.offer) else None
        among: Sequence[int] | None = None
        pinned = expected is not None and len(tokens) < row.pinned
        if not pinned and restricted and row.allowed is not None:
            among = row.allowed(tokens)
            restricted = among is not None
        positions.append(Position(expected, among, known=index < known, pinned=pinned))
        if expected is not None:
            tokens.append(expected)
    return positions
