"""The written form of transcripts, and which are refused as uncertain."""

import pytest

from scripts.train_tiny.transcripts import normalise, number_words


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Press 1 for A.M, or 2 for P.M.", "en", "press one for a m or two for p m"),
        ("Call-Forward on No Answer", "en", "call forward on no answer"),
        ("You don’t say", "en", "you don't say"),
        ("the PBX is open", "en", "the p b x is open"),
        ("your PIN", "en", "your pin"),
        ("wait 90 days", "en", "wait ninety days"),
        ("Marque 6 para escuchar", "es", "marque seis para escuchar"),
        ("凉快。", "zh", "凉快"),
    ],
)
def test_one_written_form(text: str, language: str, expected: str) -> None:
    assert normalise(text, language) == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("For (emphasized)", "en"),
        ("dial 411", "en"),
        ("h.323", "en"),
        ("marque 500", "es"),
        ("...", "en"),
        ("abc", "zh"),
    ],
)
def test_a_text_with_an_uncertain_reading_is_refused(text: str, language: str) -> None:
    assert normalise(text, language) is None


def test_number_words() -> None:
    assert [number_words(n) for n in (0, 13, 20, 47, 99)] == [
        "zero",
        "thirteen",
        "twenty",
        "forty seven",
        "ninety nine",
    ]
    with pytest.raises(ValueError, match="100"):
        number_words(100)
