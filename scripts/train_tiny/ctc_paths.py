"""Best CTC paths of known labels, for whole padded batches."""

import torch
import torch.nn.functional as F
from torch import Tensor

_NEVER = -1e30  # stays below any sum of log-probabilities and, unlike -inf, makes no NaN


def best_paths(scores: Tensor, frames: Tensor, labels: Tensor, counts: Tensor, blank: int) -> Tensor:
    """Which label each frame says: int64 `[B, T]`, indices into the row of `labels`, -1 for blanks.

    `scores` are log-probabilities `[B, T, classes]`, of which the first `frames[b]` count; `labels` `[B, U]` of which
    the first `counts[b]` count. Viterbi over the usual extended sequence (Graves 2006). A row with too few frames for
    its labels is all -1.
    """
    batch, length, _ = scores.shape
    states = torch.full((batch, 2 * labels.shape[1] + 1), blank, device=scores.device)
    states[:, 1::2] = labels
    may_skip = torch.zeros_like(states, dtype=torch.bool)
    may_skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    heard = scores.gather(2, states[:, None].expand(-1, length, -1))
    best = torch.full_like(heard[:, 0], _NEVER)
    best[:, :2] = heard[:, 0, :2]
    moves = torch.zeros((length, *states.shape), dtype=torch.int8, device=scores.device)
    for t in range(1, length):
        one = F.pad(best, (1, 0), value=_NEVER)[:, :-1]
        two = torch.where(may_skip, F.pad(best, (2, 0), value=_NEVER)[:, :-2], _NEVER)
        value, move = torch.stack((best, one, two)).max(0)
        inside = (t < frames)[:, None]
        best = torch.where(inside, value + heard[:, t], best)
        moves[t] = torch.where(inside, move, 0)
    last, before = 2 * counts, (2 * counts - 1).clamp(min=0)
    ends = [best.gather(1, state[:, None])[:, 0] for state in (last, before)]
    state = torch.where(ends[0] >= ends[1], last, before)
    possible = torch.maximum(*ends) > _NEVER / 2
    path = torch.empty((batch, length), dtype=torch.int64, device=scores.device)
    for t in range(length - 1, -1, -1):
        path[:, t] = state
        state = state - moves[t].gather(1, state[:, None])[:, 0]
    inside = torch.arange(length, device=scores.device) < frames[:, None]
    return torch.where((path % 2 == 1) & inside & possible[:, None], path // 2, -1)
