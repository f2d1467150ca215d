"""Phoneme labels of frames, which pull a network off the plateau on which CTC begins.

Exact for synthetic speech whose phonemes are timed. Else a short clip's phonemes are spread evenly over
its loud part ("flat start", as in the HTK book): wrong in detail, right enough. Long clips without times,
and clips of which only a part is heard, get no labels.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .model import IGNORED, PHONEME_FRAMES
from .pack import Pack
from .phonemes import Pronunciations
from .plans import Piece, Plan

SAMPLE_RATE = 16_000
LONGEST_WORDS = 3
LONGEST_S = 2.2


class FrameLabels:
    """Makes labels; keeps the loud span of each piece that it has seen."""

    def __init__(self, pack: Pack, pronunciations: Pronunciations) -> None:
        self._pack = pack
        self._pronunciations = pronunciations
        self._times = _read_times(pack.folder / "phoneme_times.jsonl", pronunciations)
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
            timed = self._times.get(piece.start)
            if timed is not None:
                starts, symbols = timed
                at = times * plan.speed * SAMPLE_RATE - position
                inside = (at >= 0) & (at < piece.samples)
                which = np.searchsorted(starts, at[inside], side="right") - 1
                labels[inside] = np.where(which >= 0, symbols[np.maximum(which, 0)], blank)
                position += piece.samples
                continue
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


def _read_times(path: Path, pronunciations: Pronunciations) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Start of a clip in the pack -> (first sample of each phoneme, its id; pauses are blanks)."""
    found = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            ids = np.array([_label(symbol, pronunciations) for symbol, _ in row["phonemes"]])
            found[row["start"]] = (np.array([at for _, at in row["phonemes"]]), ids)
    return found


def _label(symbol: str, pronunciations: Pronunciations) -> int:
    """A pause is a blank; a variant of a phoneme that no word of the transcripts has is not judged."""
    if symbol.startswith("_"):
        return pronunciations.size
    known = pronunciations.id_of(symbol)
    return IGNORED if known is None else known
