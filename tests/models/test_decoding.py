"""Drafts are checked, never believed: accepted tokens are what greedy decoding gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from steno.models.decoding import DecodeRow

END = 0
ENDS = frozenset({END})


def _decode(row: DecodeRow, truth: Sequence[int]) -> int:
    """Drive a row against a model that knows `truth`: right after a right prefix, nonsense after a wrong one.

    Returns the number of passes.
    """
    passes = 0
    while not row.done:
        known = list(row.tokens)
        greedy = []
        for place in range(len(row.offer) + 1):
            prefix = known + list(row.offer[:place])
            right = prefix == list(truth[: len(prefix)])
            greedy.append(truth[len(prefix)] if right and len(prefix) < len(truth) else END if right else 777)
        offered = len(row.offer)
        accepted = row.accept(greedy, [-0.5] * len(greedy), ENDS)
        row.next_offer(accepted_all=bool(offered) and accepted == offered)
        passes += 1
    return passes


@pytest.mark.parametrize("seed", range(30))
def test_any_draft_gives_the_greedy_tokens(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth: list[int] = generator.integers(1, 50, 40).tolist()
    draft = list(truth)
    for _ in range(int(generator.integers(0, 6))):  # substitutions, deletions, insertions
        place = int(generator.integers(0, len(draft)))
        draft[place : place + int(generator.integers(0, 3))] = generator.integers(
            1, 50, generator.integers(0, 3)
        ).tolist()
    row = DecodeRow(slot=0, limit=100, previous=draft)
    _decode(row, truth)
    assert row.tokens == truth
    assert len(row.logprobs) == len(truth)
    assert not row.truncated


def test_a_right_draft_costs_one_pass() -> None:
    truth = list(range(1, 41))
    assert _decode(DecodeRow(slot=0, limit=100, previous=truth), truth) == 1


def test_a_draft_with_one_wrong_token_is_offered_again_after_it() -> None:
    truth = list(range(1, 61))
    draft = [*truth[:5], 99, *truth[6:]]
    row = DecodeRow(slot=0, limit=100, previous=draft)
    assert _decode(row, truth) < 10  # one by one it would be 55
    assert row.tokens == truth


def test_the_limit_cuts_and_says_so() -> None:
    truth = list(range(1, 41))
    row = DecodeRow(slot=0, limit=7, previous=truth)
    _decode(row, truth)
    assert row.tokens == truth[:7]
    assert row.truncated


@pytest.mark.parametrize("draft", [[], [5, 6] * 30, [5, 6] * 7 + [9]])
def test_a_loop_is_cut_alike_with_and_without_a_draft(draft: list[int]) -> None:
    row = DecodeRow(slot=0, limit=500, previous=draft)
    _decode(row, [4, *[5, 6] * 100] if not draft else [5, 6] * 100)
    assert row.tokens == ([4, 5, 6] if not draft else [5, 6])
    assert row.looped
    assert row.truncated


def test_pinned_tokens_stay_whatever_the_model_says() -> None:
    row = DecodeRow(slot=0, limit=30, previous=[88, 89], pinned=2)
    row.accept([1, 777, END], [-1.0, -2.0, -3.0], ENDS)
    assert row.tokens == [88, 89]
    assert row.done
