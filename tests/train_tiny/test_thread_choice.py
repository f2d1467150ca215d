"""The number of threads follows what is measured."""

import pytest

from scripts.train_tiny.thread_choice import ThreadChoice


def test_every_count_is_tried_then_the_fastest_kept() -> None:
    choice = ThreadChoice((1, 2), try_every=100)
    assert choice.next(1, 130.0) == 2
    assert choice.next(2, 65.0) == 1
    assert choice.next(1, 120.0) == 1


def test_the_other_is_tried_again_and_taken_when_it_became_faster() -> None:
    choice = ThreadChoice((1, 2), try_every=3)
    assert [choice.next(1, 130.0), choice.next(2, 65.0), choice.next(1, 130.0)] == [2, 1, 2]
    assert choice.next(2, 190.0) == 2


def test_counts_must_be_positive() -> None:
    with pytest.raises(ValueError, match="0"):
        ThreadChoice((0, 1))
