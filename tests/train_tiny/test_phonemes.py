"""Pronunciations: letters by name, unknown words refused."""

from scripts.train_tiny.phonemes import Pronunciations, spoken_words

WORDS = {"English": {"can": ["k", "a", "n"], "i": ["aI"], "A": ["eI"], "B": ["b", "i:"], "a": ["@"]}}


def test_letters_are_told_from_words() -> None:
    assert spoken_words("can i have a b") == ["can", "i", "have", "A", "B"]
    assert spoken_words("a latte") == ["a", "latte"]
    assert spoken_words("room a one") == ["room", "A", "one"]


def test_ids_are_of_the_words_in_a_row() -> None:
    pronunciations = Pronunciations(WORDS)
    once = pronunciations.ids("can", "English")
    assert once is not None
    assert len(set(once)) == 3
    assert pronunciations.ids("can can", "English") == once * 2
    assert pronunciations.size == 8
    assert max(once) < pronunciations.size


def test_what_cannot_be_pronounced_has_none() -> None:
    pronunciations = Pronunciations(WORDS)
    assert pronunciations.ids("", "None") == []
    assert pronunciations.ids("can you", "English") is None
    assert pronunciations.ids("\u51c9", "Chinese") is None
