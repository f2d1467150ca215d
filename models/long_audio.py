"""Recordings longer than the model takes at once: where to cut them, and how to join the texts of the pieces."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np

from .mel import SAMPLE_RATE, Samples

MAX_PIECE_S = 1200
SEARCH_S = 5  # the cut lies within this of the limit
QUIET_SAMPLES = SAMPLE_RATE // 10  # length over which quietness is judged


def quietest_cut(samples: Samples, nominal: int, search: int) -> int:
    """Sample index of the best cut within `search` samples of `nominal`.

    The 100 ms of least mean magnitude, and in it the sample of least magnitude (official splitting rule).
    """
    start = max(0, nominal - search)
    loudness = np.abs(samples[start : min(samples.size, nominal + search)])
    if loudness.size <= QUIET_SAMPLES:
        return start + int(loudness.argmin())
    sums = np.concatenate(([0.0], np.cumsum(loudness, dtype=np.float64)))
    quiet = int((sums[QUIET_SAMPLES:] - sums[:-QUIET_SAMPLES]).argmin())
    return start + quiet + int(loudness[quiet : quiet + QUIET_SAMPLES].argmin())


def split_long(samples: Samples, max_piece_s: int = MAX_PIECE_S) -> list[Samples]:
    """Cut a recording into pieces of at most about `max_piece_s` seconds, each cut at the quietest point near it."""
    limit = max_piece_s * SAMPLE_RATE
    pieces = []
    while samples.size > limit:
        cut = quietest_cut(samples, limit, SEARCH_S * SAMPLE_RATE)
        pieces.append(samples[:cut])
        samples = samples[cut:]
    pieces.append(samples)
    return pieces


def join_texts(texts: Iterable[str]) -> str:
    """Join the texts of consecutive pieces: with a space, except between characters of scripts written without."""
    joined = ""
    for text in texts:
        text = text.strip()
        if joined and text and not (_unspaced(joined[-1]) and _unspaced(text[0])):
            joined += " "
        joined += text
    return joined


_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "THAI", "LAO", "KHMER", "MYANMAR")


def _unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_UNSPACED)
