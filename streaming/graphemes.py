"""Where a text may be cut without splitting what a reader sees as one character.

A cautious subset of UAX #29 over `unicodedata` alone: it may refuse a place where a cut would do no harm, it does
not allow one inside a combining sequence, a ZWJ emoji, a flag, a Hangul syllable of jamo or an Indic conjunct.
"""

import unicodedata

_ZWJ = "\u200d"
_VIRAMA = 9  # canonical combining class
_EXTENDERS = frozenset("\u0e33\u0eb3\u200c\u200d")  # Thai and Lao AM, joiners: letters or format by category


def is_boundary(text: str, index: int) -> bool:
    """True if `text` may be cut before `text[index]`; always true at both ends."""
    if index <= 0 or index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    if _extends(after):
        return False
    if before == _ZWJ or (after.isalpha() and _joins_next(text, index - 1)):
        return False
    if before == "\r" and after == "\n":
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        run = index
        while run > 0 and _is_flag_letter(text[run - 1]):
            run -= 1
        return (index - run) % 2 == 0
    return not (_is_jamo(before) and _is_vowel_or_final_jamo(after)) and not (
        _is_hangul(before) and _is_vowel_or_final_jamo(after)
    )


def boundary_at_or_before(text: str, index: int) -> int:
    """The last place at or before `index` where `text` may be cut."""
    while not is_boundary(text, index):
        index -= 1
    return index


def _joins_next(text: str, index: int) -> bool:
    """True if the marks that end at `index` have a virama among them, which ties the letter after them on."""
    while index >= 0 and _extends(text[index]):
        if unicodedata.combining(text[index]) == _VIRAMA:
            return True
        index -= 1
    return False


def _extends(char: str) -> bool:
    """True for what only ever continues a character: marks, joiners, skin tones, tag characters."""
    return (
        char in _EXTENDERS
        or unicodedata.category(char).startswith("M")
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
    )


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _is_jamo(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff" or "\ua960" <= char <= "\ua97c" or "\ud7b0" <= char <= "\ud7fb"


def _is_vowel_or_final_jamo(char: str) -> bool:
    return "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7fb"


def _is_hangul(char: str) -> bool:
    return "\uac00" <= char <= "\ud7a3"
