"""Recordings longer than the model takes at once: where to cut them, which pieces to run together, and how to join what
comes back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from .mel import SAMPLE_RATE, Samples
from .stream import Hypothesis, Transcription

MAX_PIECE_S = 1200
SEARCH_S = 5  # the cut lies within this of the limit
BATCH_S = 600.0  # audio transcribed in one batch: bounds memory
BATCH_PIECES = 32
PLACES_PER_SECOND = 20  # of audio, in a slot: 13 tokens of audio, and text
PLACES_MORE = 640  # of each piece: prompt, and what is lost to whole slots
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


def batches(pieces: Sequence[tuple[int, Samples]], free_tokens: int | None = None) -> list[list[tuple[int, Samples]]]:
    """Pieces to run together, in order: BATCH_PIECES and BATCH_S at most, and what `free_tokens` places hold."""
    made: list[list[tuple[int, Samples]]] = []
    seconds = 0.0
    for piece in pieces:
        length = piece[1].size / SAMPLE_RATE
        count = len(made[-1]) + 1 if made else 1
        places = (seconds + length) * PLACES_PER_SECOND + count * PLACES_MORE
        crowded = free_tokens is not None and places > free_tokens
        if not made or count > BATCH_PIECES or seconds + length > BATCH_S or crowded:
            made.append([])
            seconds = 0.0
        made[-1].append(piece)
        seconds += length
    return made


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


def join(parts: Sequence[Hypothesis], samples: int) -> Transcription:
    """The result of a recording of `samples` from the finals of its pieces."""
    languages = [part.language for part in parts if part.language]
    distinct = [name for i, name in enumerate(languages) if not i or name != languages[i - 1]]
    return Transcription(
        text=join_texts(part.text for part in parts),
        language=",".join(distinct) or None,
        token_ids=tuple(token for part in parts for token in part.token_ids),
        logprobs=tuple(value for part in parts for value in part.logprobs),
        truncated=any(part.truncated for part in parts),
        duration_s=samples / SAMPLE_RATE,
    )
