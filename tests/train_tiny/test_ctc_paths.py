"""Best CTC paths in padded batches, against the best of all paths."""

from itertools import product

import torch

from scripts.train_tiny.ctc_paths import best_paths

BLANK = 3


def _said(path: tuple[int, ...]) -> list[int]:
    changes = [label for i, label in enumerate(path) if i == 0 or label != path[i - 1]]
    return [label for label in changes if label != BLANK]


def test_no_path_of_the_same_labels_is_better() -> None:
    generator = torch.Generator().manual_seed(5)
    rows = [[0, 1], [1, 1], [2], [], [0, 2, 0]]
    frames = torch.tensor([6, 5, 3, 4, 6])
    scores = torch.randn(len(rows), 6, 4, generator=generator).log_softmax(-1)
    labels = torch.zeros(len(rows), 3, dtype=torch.int64)
    for row, wanted in zip(labels, rows, strict=True):
        row[: len(wanted)] = torch.tensor(wanted, dtype=torch.int64)
    paths = best_paths(scores, frames, labels, torch.tensor([len(row) for row in rows]), BLANK)
    for row, wanted, count, path in zip(scores, rows, frames.tolist(), paths.tolist(), strict=True):
        spoken = tuple(BLANK if index < 0 else wanted[index] for index in path[:count])
        every = [p for p in product(range(4), repeat=count) if _said(p) == wanted]
        totals = {p: float(row[torch.arange(count), list(p)].sum()) for p in every}
        assert _said(spoken) == wanted
        assert totals[spoken] >= max(totals.values()) - 1e-5
        assert path[count:] == [-1] * (6 - count)


def test_a_row_too_short_for_its_labels_says_nothing() -> None:
    scores = torch.zeros(2, 3, 4)
    paths = best_paths(
        scores, torch.tensor([2, 3]), torch.tensor([[0, 0], [0, 0]]), torch.tensor([2, 2]), BLANK
    ).tolist()
    assert paths == [[-1, -1, -1], [0, -1, 1]]
