"""CTC forced alignment on scores whose best path is known."""

import numpy as np
import pytest
import torch

from scripts.train_tiny.align import force_align, quietest

BLANK = 3


def _scores(path: list[int]) -> torch.Tensor:
    scores = torch.full((len(path), 4), -5.0)
    scores[torch.arange(len(path)), path] = -0.1
    return scores


def test_spans_of_a_clear_path() -> None:
    path = [BLANK, 0, 0, BLANK, 1, 1, 1, BLANK, BLANK, 2]
    assert force_align(_scores(path), [0, 1, 2], BLANK) == [(1, 2), (4, 6), (9, 9)]


def test_a_repeated_label_needs_a_blank_between() -> None:
    assert force_align(_scores([0, 0, BLANK, 0, 0]), [0, 0], BLANK) == [(0, 1), (3, 4)]
    with pytest.raises(ValueError, match="too few"):
        force_align(_scores([0, 0]), [0, 0], BLANK)


def test_the_cut_falls_into_the_gap() -> None:
    samples = np.ones(16_000, dtype=np.float32)
    samples[8_000:9_600] = 0.0
    assert 8_000 <= quietest(samples, 4_000, 14_000) <= 9_600
