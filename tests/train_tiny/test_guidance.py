"""The looking loss is small exactly where the right audio is attended to."""

import torch

from scripts.train_tiny.guidance import looking_loss, words_heard


def test_words_are_found_where_the_scores_have_them() -> None:
    scores = torch.full((1, 6, 4), -5.0)
    for frame, label in enumerate([3, 0, 3, 1, 2, 3]):  # 3 is the blank; labels 1 and 2 spell one word
        scores[0, frame, label] = -0.1
    heard = words_heard(
        scores, torch.tensor([6]), torch.tensor([[0, 1, 2]]), torch.tensor([3]), torch.tensor([[0, 1, 1]]), 3
    )
    assert heard.tolist() == [[-1, 0, -1, 1, 1, -1]]


def _loss(looked_at: int) -> float:
    """One row: 6 audio tokens behind a prompt token, then the position that writes word 1."""
    keys = torch.eye(8)[None] * 10
    queries = torch.zeros(1, 8, 2, 8)
    queries[0, 7, :, looked_at] = 10.0
    is_audio = torch.tensor([[False] + [True] * 6 + [False]])
    heard = torch.tensor([[0, -1, -1, 1, -1, -1]])
    words = torch.tensor([[-1] * 7 + [1]])
    return float(looking_loss(queries, keys, is_audio, heard, words))


def test_attention_on_the_word_and_beside_it_costs_nothing() -> None:
    assert all(_loss(place) < 0.01 for place in (3, 4, 5))  # audio token 3 is position 4


def test_attention_elsewhere_costs() -> None:
    assert all(_loss(place) > 5 for place in (0, 1, 2, 6, 7))


def test_rows_without_words_have_no_loss() -> None:
    queries, keys = torch.randn(1, 4, 2, 8), torch.randn(1, 4, 8)
    nothing = torch.full((1, 4), -1)
    loss = looking_loss(queries, keys, torch.tensor([[False, True, True, False]]), nothing[:, :2], nothing)
    assert float(loss) == 0.0
