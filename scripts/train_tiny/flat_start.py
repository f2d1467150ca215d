"""Rough frame labels for short clips: a word's phonemes spread evenly over its loud part.

How speech recognizers have begun since the HTK book ("flat start"): wrong in detail, right enough to
pull a network off the plateau on which CTC begins. Long pieces, and cut ones, get no labels.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .model import IGNORED, PHONEME_FRAMES
from .pack import Pack
from .phonemes import Pronunciations
from .plans import Piece, Plan

SAMPLE_RATE = 16_000
LONGEST_WORDS = 3
LONGEST_S = 2.2


class FlatStart:
    """Makes labels; keeps the loud span of each piece that it has seen."""

    def __init__(self, pack: Pack, pronunciations: Pronunciations) -> None:
        self._pack = pack
        self._pronunciations = pronunciations
        self._span = lru_cache(maxsize=50_000)(self._find_span)

    def labels(self, plan: Plan, tokens: int) -> NDArray[np.int64]:
        """Phoneme id, blank, or IGNORED for each of `tokens * PHONEME_FRAMES` frames of a made plan."""
        count = tokens * PHONEME_FRAMES
        blank = self._pronunciations.size
        words = sum(len(piece.words) for piece in plan.pieces)
        if plan.language == "Chinese" or words != len(plan.text.split()):
            return np.full(count, IGNORED)
        labels = np.full(count, blank)
        token, part = np.divmod(np.arange(count), PHONEME_FRAMES)
        times = token // 13 + 0.08 * (token % 13 + (part + 0.5) / PHONEME_FRAMES)
        position = 0
        for piece, gap in zip(plan.pieces, plan.gaps, strict=True):
            position += gap
            first, last = self._span(piece)
            begin = (position + first) / plan.speed / SAMPLE_RATE
            end = (position + last) / plan.speed / SAMPLE_RATE
            inside = (times >= begin) & (times < end)
            phonemes = self._pronunciations.ids(" ".join(piece.words), plan.language)
            if not phonemes or len(piece.words) > LONGEST_WORDS or end - begin > LONGEST_S:
                labels[inside] = IGNORED
            else:
                place = ((times[inside] - begin) / (end - begin) * len(phonemes)).astype(int)
                labels[inside] = np.array(phonemes)[np.minimum(place, len(phonemes) - 1)]
            position += piece.samples
        return labels

    def _find_span(self, piece: Piece) -> tuple[int, int]:
        """First and last sample louder than 26 dB below the loudest 10 ms."""
        samples = self._pack.samples(piece.start, piece.samples)
        frames = samples[: samples.size // 160 * 160].reshape(-1, 160)
        level = np.sqrt((frames**2).mean(1)) if len(frames) else np.ones(1)
        loud = np.flatnonzero(level > 0.05 * level.max())
        if loud.size == 0:
            return 0, piece.samples
        return int(loud[0]) * 160, int(loud[-1] + 1) * 160
