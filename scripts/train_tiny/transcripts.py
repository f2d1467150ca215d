"""Transcripts as the tiny model writes them: one written form for each spoken form.

Knows the conventions of the training text: lower case, numbers as words, spelled letters as single
letters, no punctuation but the apostrophe. Refuses to guess: a transcript whose reading is not
certain (digits of an address, stage directions) gives None and its clip is left out.
"""

import re
import unicodedata

DIGITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
DIGITS_ES = "cero uno dos tres cuatro cinco seis siete ocho nueve".split()

# Capital words of up to four letters that are read as words, not letter by letter.
_READ_AS_WORDS = {"PIN", "SIP", "NO", "YES", "UNIX", "LINUX"}


def number_words(number: int) -> str:
    """English words for 0..99; ValueError outside of that."""
    if not 0 <= number <= 99:
        raise ValueError(f"number_words wants 0..99, got {number}")
    if number < 10:
        return DIGITS[number]
    if number < 20:
        return TEENS[number - 10]
    tens, rest = divmod(number, 10)
    return TENS[tens - 2] + (f" {DIGITS[rest]}" if rest else "")


def normalise(text: str, language: str) -> str | None:
    """The training form of a transcript, or None where its reading is not certain.

    `language` is "en", "es" or "zh".
    """
    text = unicodedata.normalize("NFC", text)
    if language == "zh":
        kept = "".join(c for c in text if "\u4e00" <= c <= "\u9fff")
        return kept or None
    if re.search(r"[()#*&_/\[\]\"]|www|\d\.\d|[A-Za-z]\.\d", text):
        return None
    text = text.replace("A.M", "A M").replace("P.M", "P M")
    words: list[str] = []
    shouted = text.isupper() and len(text) > 5 and " " not in text
    for token in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+", text):
        if token.isdigit():
            spoken = _number(token, language)
            if spoken is None:
                return None
            words.append(spoken)
        elif token.isupper() and 1 < len(token) <= 4 and not shouted:
            words.append(token.lower() if token in _READ_AS_WORDS else " ".join(token.lower()))
        else:
            words.append(token.lower().replace("’", "'"))
    return " ".join(words) or None


def _number(token: str, language: str) -> str | None:
    if language == "es":
        return DIGITS_ES[int(token)] if len(token) == 1 else None
    return (
        number_words(int(token))
        if len(token) <= 2 and not token.startswith("0")
        else (DIGITS[0] if token == "0" else None)
    )
