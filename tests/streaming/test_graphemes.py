"""What a reader sees as one character is never cut."""

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from steno.streaming.graphemes import boundary_at_or_before, is_boundary

WHOLE = {
    "letter with a combining accent": "e\u0301",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "heart with variation selector": "\u2764\ufe0f",
    "thumb with skin tone": "\U0001f44d\U0001f3fd",
    "flag": "\U0001f1e9\U0001f1ea",
    "flag of a region": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "keycap": "1\ufe0f\u20e3",
    "Hangul from jamo": "\u1112\u1161\u11ab",
    "Hangul syllable with a final jamo": "\ud558\u11ab",
    "Devanagari conjunct": "\u0915\u094d\u0937\u093f",
    "Thai with tone mark and AM": "\u0e19\u0e49\u0e33",
    "line end": "\r\n",
}


@pytest.mark.parametrize("char", WHOLE.values(), ids=WHOLE.keys())
def test_no_cut_inside_a_character(char: str) -> None:
    assert not any(is_boundary(f"a{char}b", index) for index in range(2, len(char) + 1))
    assert boundary_at_or_before(char, len(char) - 1) == 0


@pytest.mark.parametrize("text", ["ab", "a b", "你好", "ไทย", "한국", "🙂🙂", "é\u0301"[0:1] + "x"])
def test_cut_between_characters(text: str) -> None:
    assert all(is_boundary(text, index) for index in range(len(text) + 1))


def test_flags_are_cut_in_pairs() -> None:
    text = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7"
    assert [is_boundary(text, index) for index in range(5)] == [True, False, True, False, True]


@given(
    st.text(st.sampled_from("ab \u0301\u0e19\u0e33\u0e49\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd\u200d\u0915\u094d한"))
)
def test_allows_no_cut_that_the_unicode_rules_forbid(text: str) -> None:
    allowed = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    assert {index for index in range(len(text) + 1) if is_boundary(text, index)} <= allowed
