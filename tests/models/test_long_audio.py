"""Where long recordings are cut, and how the texts of the pieces are joined."""

from __future__ import annotations

import numpy as np
import pytest

from steno.models.long_audio import batches, join_texts, quietest_cut, split_long
from steno.models.mel import SAMPLE_RATE


def test_the_cut_falls_into_the_pause_near_the_limit() -> None:
    generator = np.random.default_rng(0)
    samples = generator.standard_normal(30 * SAMPLE_RATE).astype(np.float32)
    pause = slice(int(12.2 * SAMPLE_RATE), int(12.5 * SAMPLE_RATE))
    samples[pause] *= 1e-3
    cut = quietest_cut(samples, 10 * SAMPLE_RATE, 5 * SAMPLE_RATE)
    assert pause.start <= cut < pause.stop


@pytest.mark.parametrize("seconds", [5, 10, 10.5, 33, 61])
def test_pieces_are_the_whole_recording_in_order(seconds: float) -> None:
    samples = np.random.default_rng(1).standard_normal(int(seconds * SAMPLE_RATE)).astype(np.float32)
    pieces = split_long(samples, max_piece_s=10)
    assert np.array_equal(np.concatenate(pieces), samples)
    assert all(0 < piece.size <= 15 * SAMPLE_RATE for piece in pieces)


def test_short_audio_is_one_piece() -> None:
    samples = np.zeros(100, np.float32)
    assert split_long(samples)[0] is samples


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["one two", "three"], "one two three"),
        (["one", "", "two"], "one two"),
        (["今天", "天气"], "今天天气"),
        (["今天", "weather"], "今天 weather"),
        (["こんに", "ちは"], "こんにちは"),
        (["สวัส", "ดี"], "สวัสดี"),
        (["오늘", "날씨"], "오늘 날씨"),
        ([" a ", " b"], "a b"),
        ([], ""),
    ],
)
def test_words_keep_their_space(texts: list[str], joined: str) -> None:
    assert join_texts(texts) == joined


def test_batches_keep_to_what_is_free() -> None:
    pieces = [(index, np.zeros(30 * SAMPLE_RATE, np.float32)) for index in range(7)]
    assert [len(batch) for batch in batches(pieces)] == [7]
    assert [len(batch) for batch in batches(pieces, free_tokens=3000)] == [2, 2, 2, 1]
    assert [len(batch) for batch in batches(pieces, free_tokens=1)] == [1] * 7
    assert [piece for batch in batches(pieces, free_tokens=3000) for piece in batch] == pieces
