"""Loops are found while decoding; speech that repeats is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from steno.models.repetition import LIMITS, find_loop


def _watch(tokens: list[int]) -> tuple[int, int] | None:
    """(tokens seen, tokens kept) when a decoder that checks after each token stops."""
    for seen in range(1, len(tokens) + 1):
        keep = find_loop(tokens[:seen])
        if keep is not None:
            return seen, keep
    return None


@pytest.mark.parametrize(("unit", "repetitions"), [(1, 20), (2, 20), (3, 10), (8, 10), (9, 6), (32, 6)])
def test_a_loop_is_cut_to_one_copy_of_its_unit(unit: int, repetitions: int) -> None:
    start = [900, 901, 902]
    tokens = start + list(range(unit)) * 40
    assert _watch(tokens) == (len(start) + unit * repetitions, len(start) + unit)


def test_repeating_speech_is_not_a_loop() -> None:
    no, zero, one = 5, 6, 7
    assert _watch([1, 2] + [no] * 12 + [3] + [zero] * 10 + [one, zero] * 9) is None


def test_random_text_is_not_a_loop() -> None:
    for seed in range(50):
        tokens: list[int] = np.random.default_rng(seed).integers(0, 4, 300).tolist()
        found = _watch(tokens)
        assert found is None, f"seed {seed}: {found}"


def test_the_copy_kept_is_the_first_one() -> None:
    tokens = [1, 2, 3, 9, 4, 5] + [7, 8, 9] * 9 + [7, 8, 9]
    assert find_loop(tokens) == 9
    assert find_loop([9] + [7, 8, 9] * 10) == 3  # the unit read from one token earlier


def _plainly(tokens: list[int]) -> int | None:
    """The definition, without a thought for speed."""
    for unit in range(1, LIMITS[-1][0] + 1):
        repetitions = next(count for longest, count in LIMITS if unit <= longest)
        start = len(tokens) - unit * repetitions
        if start >= 0 and tokens[start:] == tokens[start : start + unit] * repetitions:
            while start > 0 and tokens[start - 1] == tokens[start - 1 + unit]:
                start -= 1
            return start + unit
    return None


def test_short_cuts_change_nothing() -> None:
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(3000):
        unit = generator.integers(0, 3, generator.integers(1, 36)).tolist()
        tokens = generator.integers(0, 3, 5).tolist() + unit * int(generator.integers(1, 24))
        tokens = tokens[: len(tokens) - int(generator.integers(0, 4))]
        if generator.random() < 0.3:
            tokens[int(generator.integers(0, len(tokens)))] = 9
        assert find_loop(tokens) == _plainly(tokens)
        found += find_loop(tokens) is not None
    assert found > 100
    assert find_loop([]) is None
