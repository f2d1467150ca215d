"""Words to phonemes, for the auxiliary loss that teaches the encoder to hear before it reads.

Pronunciations come from espeak-ng, word by word; without the program a word's letters stand in. A
language that it cannot pronounce has none, and its clips do without that loss.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from .phrases import letters_in

VOICES = {"English": "en-us", "Spanish": "es"}


class Pronunciations:
    """Phoneme ids of texts; `size` ids, 0-based."""

    def __init__(self, words: Mapping[str, Mapping[str, list[str]]]) -> None:
        self._words = words
        symbols = sorted({s for by_word in words.values() for phonemes in by_word.values() for s in phonemes})
        self._ids = {symbol: number for number, symbol in enumerate(symbols)}
        self.size = len(symbols)

    @classmethod
    def read(cls, path: Path) -> "Pronunciations":
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def id_of(self, symbol: str) -> int | None:
        return self._ids.get(symbol)

    def ids(self, text: str, language: str) -> list[int] | None:
        """Phonemes of a text in the training form; None where a word has no pronunciation."""
        known = self._words.get(language)
        if not text:
            return []
        if known is None:
            return None
        out: list[int] = []
        for word in spoken_words(text):
            if word not in known:
                return None
            out += [self._ids[symbol] for symbol in known[word]]
        return out


def spoken_words(text: str) -> list[str]:
    """Words, with the letters that are spelled out in upper case."""
    words = text.split()
    return [w.upper() if spelled else w for w, spelled in zip(words, letters_in(words), strict=True)]


def write_pronunciations(texts: Iterable[tuple[str, str]], path: Path) -> None:
    """Pronounce every word of (text, language) pairs and write them as JSON, language -> word -> phonemes."""
    found: dict[str, dict[str, list[str]]] = {language: {} for language in VOICES}
    for text, language in texts:
        if language in VOICES:
            for word in spoken_words(text):
                if word not in found[language]:
                    found[language][word] = _pronounce(word, language)
    path.write_text(json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")


def _pronounce(word: str, language: str) -> list[str]:
    if shutil.which("espeak-ng") is None:
        return list(word.lower())
    command = ["espeak-ng", "-v", VOICES[language], "-q", "-x", "--sep= ", word]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    without_stress = re.sub(r"['\",%=|_*]|\([a-z-]+\)", "", output)
    return without_stress.split() or list(word.lower())
