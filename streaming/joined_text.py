"""How the texts of neighbouring segments join. Pure; knows characters only."""

import unicodedata
from collections.abc import Iterable

_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "THAI", "LAO", "KHMER", "MYANMAR")


def separator(before: str, after: str) -> str:
    """What belongs between two texts: a space, or nothing where one is empty, has it already, or needs none."""
    if not before or not after or before[-1].isspace() or after[0].isspace():
        return ""
    return "" if _unspaced(before[-1]) and _unspaced(after[0]) else " "


def joined(texts: Iterable[str]) -> str:
    """All texts in a row."""
    whole = ""
    for text in texts:
        whole += separator(whole, text) + text
    return whole


def _unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_WITHOUT_SPACES)
