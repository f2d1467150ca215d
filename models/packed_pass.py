"""The numbers of one packed pass over many rows, worked out on the host and sent to the device in one copy.

A row's part of the pass is [before | audio | after | offer] of its `DecodeRow` and `RowInput`, behind what its slot
holds. Knows rows, slots and places; refuses to know networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bounded_parts import bounded_parts
from .decoding import DecodeRow, RowInput
from .packed_attention import PackedRows
from .slot_pool import SlotPool
from .upload import upload

PASS_TOKENS = 8192  # of one pass: bounds its activations
NOTHING = -1  # where there is no token

Given = tuple[DecodeRow, RowInput]


@dataclass(frozen=True, slots=True)
class PackedPass:
    """int64 tensors of a pass of `n` rows and `t` tokens, of which `s` places are scored: those after which the model
    chooses a token, the last of a row's input and all of its offer.
    """

    ids: Tensor  # [t]; 0 where audio goes
    positions: Tensor  # [t]: in the sequence
    places: Tensor  # [t]: in the pool
    audio_at: Tensor  # which of the t are audio
    scored_at: Tensor  # [s]: which of the t are scored
    columns: Tensor  # [n, w]: each row's scored places among the s, the last one repeated
    offers: Tensor  # [n, w]: the token offered after each, NOTHING behind the end
    bases: Tensor  # [n]: length of the slot with the input, without the offer
    limits: Tensor  # [n]: tokens that may still be said
    rooms: Tensor  # [n]: length that the slot may reach
    rows: PackedRows
    audio: Sequence[Tensor]


def pack(group: Sequence[Given], rooms: Sequence[int], pool: SlotPool, device: torch.device) -> PackedPass:
    """`rooms[i]`: length that the slot of row i may reach; the pass fits into it."""
    rows = [row for row, _ in group]
    inputs = [given.tokens for _, given in group]
    lengths = [pool.length(row.slot) for row in rows]
    starts = [pool.start(row.slot) for row in rows]
    counts = [size + len(row.offer) for row, size in zip(rows, inputs, strict=True)]
    used = [length + count for length, count in zip(lengths, counts, strict=True)]
    ends = np.cumsum(counts, dtype=np.int64)
    positions = np.concatenate([np.arange(a, b) for a, b in zip(lengths, used, strict=True)])
    scored = [np.arange(end - len(row.offer) - 1, end) for row, end in zip(rows, ends, strict=True)]
    columns, offers = _offers(rows)
    sent = upload(
        (
            _ids(group),
            positions,
            positions + np.repeat(starts, counts),
            _audio_places(group, (ends - counts).tolist()),
            np.concatenate(scored),
            columns.ravel(),
            offers.ravel(),
            [length + size for length, size in zip(lengths, inputs, strict=True)],
            [row.limit - len(row.tokens) for row in rows],
            rooms,
            [0, *ends],
            [*starts, 0],
            used,
        ),
        device,
    )
    query_ends, key_starts, key_counts = (each.int() for each in sent[10:])
    return PackedPass(
        ids=sent[0],
        positions=sent[1],
        places=sent[2],
        audio_at=sent[3],
        scored_at=sent[4],
        columns=sent[5].view(columns.shape),
        offers=sent[6].view(offers.shape),
        bases=sent[7],
        limits=sent[8],
        rooms=sent[9],
        rows=PackedRows(counts, starts, used, query_ends, key_starts, key_counts),
        audio=[piece for _, given in group for piece in given.audio],
    )


def groups(passes: Sequence[Given]) -> Iterator[slice]:
    """Parts of `passes` for one pass each: PASS_TOKENS at most together, one row at least."""
    return bounded_parts([given.tokens + len(row.offer) for row, given in passes], PASS_TOKENS)


def _offers(rows: Sequence[DecodeRow]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`columns` and `offers` of the pass, `[n, w]`."""
    sizes = np.array([len(row.offer) + 1 for row in rows])
    firsts = np.cumsum(sizes) - sizes
    columns = np.minimum(np.arange(sizes.max()), sizes[:, None] - 1) + firsts[:, None]
    offers = np.full(columns.shape, NOTHING)
    for index, row in enumerate(rows):
        offers[index, : len(row.offer)] = row.offer
    return columns, offers


def _ids(group: Sequence[Given]) -> list[int]:
    ids: list[int] = []
    for row, given in group:
        ids += [*given.before, *[0] * given.audio_tokens, *given.after, *row.offer]
    return ids


def _audio_places(group: Sequence[Given], firsts: Sequence[int]) -> NDArray[np.int64]:
    """Of a pass whose rows begin at `firsts`."""
    begins = [first + len(given.before) for (_, given), first in zip(group, firsts, strict=True)]
    spans = [np.arange(begin, begin + given.audio_tokens) for (_, given), begin in zip(group, begins, strict=True)]
    return np.concatenate(spans)
