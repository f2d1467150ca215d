"""Where the decoder should look: some heads are told which audio says the word just written, and some of the next layer
which says the word to write.

Left to itself a small decoder takes long to learn to follow the audio, and meanwhile guesses from the text before.
The words' places come from the CTC head's own best path, so nothing has to be aligned beforehand. The idea is that of
guided attention (Tachibana et al. 2018), with known words in the place of a diagonal.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .ctc_paths import best_paths

REACH = 1  # tokens of audio to either side of where a word was heard


@dataclass(frozen=True, slots=True)
class Look:
    """Heads of a decoder layer that share a key head."""

    layer: int
    heads: slice
    key_head: int


WRITTEN = Look(layer=0, heads=slice(2, 4), key_head=1)
NEXT = Look(layer=1, heads=slice(0, 2), key_head=0)  # not the last layer, so that what was read can be worked with


def words_heard(
    scores: Tensor, frames: Tensor, labels: Tensor, counts: Tensor, label_words: Tensor, blank: int
) -> Tensor:
    """Index of the word that each audio token says, `[B, T]`, -1 for none; arguments as of `best_paths`, and the word
    of each label `[B, U]` (-1: of none)."""
    path = best_paths(scores, frames, labels, counts, blank)
    return torch.where(path >= 0, label_words.gather(1, path.clamp(min=0)), -1)


def looking_loss(queries: Tensor, keys: Tensor, is_audio: Tensor, heard: Tensor, words: Tensor) -> Tensor:
    """Mean of -log of the attention that falls on the right audio, over positions that have a word to look for.

    `queries` `[B, L, heads, size]` and `keys` `[B, L, size]`, rotated; `is_audio` `[B, L]`; `heard` `[B, T]` as of
    `words_heard`; `words` `[B, L]` the word that each position looks for, -1 for none.
    """
    length = queries.shape[1]
    scores = torch.einsum("bqhd,bkd->bhqk", queries, keys).float() * queries.shape[-1] ** -0.5
    causal = torch.ones(length, length, dtype=torch.bool, device=scores.device).tril()
    place = (is_audio.cumsum(1) - 1).clamp(0, heard.shape[1] - 1)
    right = torch.zeros(scores.shape[0], length, length, dtype=torch.bool, device=scores.device)
    for shift in range(-REACH, REACH + 1):
        nearby = torch.full_like(heard, -1)
        if shift < 0:
            nearby[:, :shift] = heard[:, -shift:]
        elif shift > 0:
            nearby[:, shift:] = heard[:, :-shift]
        else:
            nearby = heard
        said = torch.where(is_audio, nearby.gather(1, place), -1)
        right |= said[:, None, :] == words[:, :, None]
    right &= (words >= 0)[..., None] & is_audio[:, None, :]
    judged = right.any(-1)
    if not judged.any():
        return torch.zeros_like(scores).sum()
    wanted = scores.masked_fill(~right[:, None], -torch.inf)
    everything = scores.masked_fill(~causal, -torch.inf)
    chosen = judged[:, None].expand(-1, scores.shape[1], -1)
    missed: Tensor = everything.logsumexp(-1)[chosen] - wanted[chosen].logsumexp(-1)
    return missed.mean()
