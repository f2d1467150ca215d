"""Scoring the vocabulary: choices and log-probabilities of many positions, a bounded number of rows at a time.

The widest product of the network (151,936 outputs) is run where tokens are chosen and nowhere else; its scores are
never kept. Knows positions, not rows or streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .packed_linear import Pack

ROWS = 32  # positions scored at a time: 20 MB of scores
BLOCK = 128  # scores searched at a time: a maximum without its place is several times cheaper than one with it
CANDIDATES = 8


class Scored(NamedTuple):
    """Scores float32 `[n, vocabulary]` and the best of each, as ids `[n]`."""

    scores: Tensor
    choices: Tensor


Score = Callable[[Tensor], Scored]
"""States `[n, hidden]` -> their scores."""


class RescoredHead(nn.Module):
    """A head in int8 whose best candidates are scored again with the full-precision `rows` of their ids.

    The choice is that of the full-precision head unless its best is not among the candidates of the int8 one.
    """

    def __init__(self, linear: nn.Linear, pack: Pack, rows: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.coarse = pack((linear,))
        self._rows = rows

    def forward(self, states: Tensor) -> Tensor:
        return self.score(states).scores

    def score(self, states: Tensor) -> Scored:
        scores: Tensor = self.coarse(states)
        candidates = best(scores, CANDIDATES)
        exact = torch.einsum("nh,nch->nc", states, self._rows(candidates).to(states.dtype))
        scores.scatter_(1, candidates, exact)
        return Scored(scores, candidates.gather(1, exact.argmax(1, keepdim=True))[:, 0])


def largest(scores: Tensor) -> Tensor:
    """Ids `[n]` of the largest of `scores` `[n, m]`; the first one where several are."""
    rows, width = scores.shape
    if width % BLOCK:
        return scores.argmax(-1)
    blocks = scores.view(rows, -1, BLOCK)
    which = blocks.amax(-1).argmax(-1)
    return which * BLOCK + blocks[torch.arange(rows, device=scores.device), which].argmax(-1)


def best(scores: Tensor, count: int) -> Tensor:
    """Ids `[n, count]` of the largest of `scores` `[n, m]`, the largest first."""
    rows, width = scores.shape
    if width % BLOCK or width // BLOCK < count:
        return scores.topk(count, dim=1).indices
    blocks = scores.view(rows, -1, BLOCK)
    which = blocks.amax(-1).topk(count, dim=1).indices  # the `count` largest lie in the blocks of the largest maxima
    inside = blocks.gather(1, which[..., None].expand(-1, -1, BLOCK)).flatten(1)
    found = inside.topk(count, dim=1).indices
    return which.gather(1, found // BLOCK) * BLOCK + found % BLOCK


@dataclass(frozen=True, slots=True)
class Position:
    """One place where a token is chosen.

    `expected`: the token offered for it, or None. `among`: ids that may be chosen, None for any. `known`: whether the
    log-probability of the expected token need not be computed. `pinned`: the expected token is taken unasked.
    """

    expected: int | None = None
    among: Sequence[int] | None = None
    known: bool = False
    pinned: bool = False


class Choice(NamedTuple):
    token: int
    logprob: float | None  # natural; None where it was not wanted


def choose(score: Score, states: Tensor, positions: Sequence[Position]) -> list[Choice]:
    """The token chosen after each of `states` `[n, hidden]`, with its log-probability."""
    given = [each.expected if each.pinned and each.known else None for each in positions]
    asked = [index for index, token in enumerate(given) if token is None]
    found = iter(_choose(score, states[asked], [positions[index] for index in asked]))
    return [next(found) if token is None else Choice(token, None) for token in given]


def _choose(score: Score, states: Tensor, positions: Sequence[Position]) -> list[Choice]:
    choices: list[Choice] = []
    for start in range(0, len(positions), ROWS):
        some = positions[start : start + ROWS]
        scored = score(states[start : start + ROWS])
        tokens: list[int] = scored.choices.tolist()
        for index, position in enumerate(some):
            if position.pinned and position.expected is not None:
                tokens[index] = position.expected
            elif position.among is not None:
                allowed = list(position.among)
                tokens[index] = allowed[int(scored.scores[index, allowed].argmax())]
        wanted = [i for i, each in enumerate(some) if not (each.known and tokens[i] == each.expected)]
        logprobs: list[float | None] = [None] * len(some)
        if wanted:
            rows = scored.scores if len(wanted) == len(some) else scored.scores[wanted]
            found = _log_probabilities(rows, torch.tensor([[tokens[i]] for i in wanted], device=rows.device))
            for index, value in zip(wanted, found.tolist(), strict=True):
                logprobs[index] = value
        choices += [Choice(token, logprob) for token, logprob in zip(tokens, logprobs, strict=True)]
    return choices


def _log_probabilities(scores: Tensor, ids: Tensor) -> Tensor:
    """Of one of `ids` `[n, 1]` in each row of `scores` `[n, vocabulary]`, which are used up: `[n]`."""
    chosen = scores.gather(1, ids)
    peaks = scores.amax(1, keepdim=True)
    return (chosen - peaks - scores.sub_(peaks).exp_().sum(1, keepdim=True).log_())[:, 0]
