"""What the examples of a training are made of: which clips, alone or joined, how often, cut where, how fast.

Knows the train split of the pack and where its words end. Refuses to know audio: it draws plans.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steno.models.mel import SAMPLE_RATE

from .pack import Pack, PackedClip
from .plans import Piece, Plan
from .transcripts import DIGITS

LONG = 0.1  # share of the joins that may be long: a decoder loses its place in lengths that it never saw
REPEATED = 0.2  # share of the pieces of joins that say again what the one before said: counting is hard

# (source, single or join) -> share of the examples; noise comes on top. "spelt": the letters and digits among the
# prompts of asterisk-en, one more voice for what few people read here.
SHARES: dict[tuple[str, str], float] = {
    ("fsdd", "single"): 0.11,
    ("fsdd", "join"): 0.09,
    ("moonshine", "single"): 0.02,
    ("moonshine", "join"): 0.06,
    ("alnum", "single"): 0.09,
    ("alnum", "join"): 0.19,
    ("pv-intent", "single"): 0.11,
    ("pv-intent", "join"): 0.04,
    ("pv-wake", "single"): 0.03,
    ("ovos-ww", "single"): 0.09,
    ("spelt", "single"): 0.02,
    ("spelt", "join"): 0.05,
    ("asterisk-en", "single"): 0.015,
    ("asterisk-en", "join"): 0.01,
    ("asterisk-es", "single"): 0.045,
    ("cmn-hsk", "single"): 0.03,
    ("cmn-hsk", "join"): 0.02,
    ("synthetic", "single"): 0.14,
    ("synthetic", "join"): 0.05,
}
NOISE_SHARE = 0.09


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a stage of the training draws."""

    longest_s: float
    batch_s: float  # padded seconds of audio per batch
    strength: float = 1.0  # of the augmentation, 0..1
    voice: float = 1.0  # of what makes other voices of one, speed and vocal tract, 0..1
    sources: tuple[str, ...] = tuple({source for source, _ in SHARES})


class Planner:
    """Draws plans from the train split."""

    def __init__(self, pack: Pack, alignments: Path | None, rng: np.random.Generator) -> None:
        self._rng = rng
        ends = _read_alignments(alignments)
        self._single: dict[str, list[tuple[Piece, PackedClip]]] = defaultdict(list)
        voices: dict[str, dict[str, list[Piece]]] = defaultdict(lambda: defaultdict(list))
        self._languages: dict[str, str] = {}
        for clip in pack.select(["train"]):
            words = words_of(clip)
            source = "spelt" if clip.source == "asterisk-en" and spelt(words) else clip.source
            known = ends.get(clip.id) or ((clip.samples,) if len(words) == 1 else ())
            piece = Piece(clip.start, clip.samples, words, known)
            self._single[source].append((piece, clip))
            self._languages[clip.speaker + source] = clip.language
            voice = voices[source][clip.speaker + source]
            if clip.source == "pv-intent" or (clip.samples < 2 * SAMPLE_RATE and len(words) <= 3):
                voice.append(piece)
            elif clip.source == "alnum" and clip.id in ends:
                voice += _single_words(piece)
        self._voices = {
            source: [(key, pieces) for key, pieces in by_voice.items() if len(pieces) >= 3]
            for source, by_voice in voices.items()
        }
        offered = {
            key: share
            for key, share in SHARES.items()
            if (self._single.get(key[0]) if key[1] == "single" else self._voices.get(key[0]))
        }
        if not offered:
            raise ValueError("the pack has no clip of a known source in its train split")
        self._keys = list(offered)
        shares = np.array(list(offered.values()))
        self._shares = shares / shares.sum()

    def draw(self, recipe: Recipe) -> Plan:
        """One plan of at most `recipe.longest_s` seconds."""
        rng = self._rng
        limit = int(recipe.longest_s * SAMPLE_RATE)
        while True:
            if rng.random() < NOISE_SHARE:
                samples = int(rng.uniform(0.4, min(8.0, recipe.longest_s)) * SAMPLE_RATE)
                return Plan((), (), samples, 1.0, "", "None", samples)
            source, form = self._keys[rng.choice(len(self._keys), p=self._shares)]
            if source not in recipe.sources:
                continue
            speed = float(1 + recipe.voice * rng.uniform(-0.15, 0.18))
            if form == "single":
                piece, clip = self._single[source][rng.integers(len(self._single[source]))]
                pieces, language = [piece], clip.language
            else:
                voices = self._voices[source]
                key, members = voices[rng.integers(len(voices))]
                room = limit * speed - 0.3 * SAMPLE_RATE
                pieces, language = [], self._languages[key]
                for _ in range(rng.integers(1, 36 if rng.random() < LONG else 11)):
                    again = [m for m in members if m.words == pieces[-1].words] if pieces else []
                    among = again if again and rng.random() < REPEATED else members
                    piece = among[rng.integers(len(among))]
                    room -= piece.samples + 0.15 * SAMPLE_RATE
                    if room < 0:
                        break
                    pieces.append(piece)
            plan = self._finish(pieces, language, speed, limit) if pieces else None
            if plan is not None:
                return plan

    def _finish(self, pieces: list[Piece], language: str, speed: float, limit: int) -> Plan | None:
        rng = self._rng
        widest = rng.choice([0.1, 0.3, 0.6])
        gaps = [int(rng.uniform(0, widest) * SAMPLE_RATE) for _ in pieces]
        gaps[0] = int(rng.choice([rng.uniform(0, 0.3), rng.uniform(0, 1.0)]) * SAMPLE_RATE)
        trail = int(rng.choice([rng.uniform(0, 0.2), rng.uniform(0, 1.0)]) * SAMPLE_RATE)
        words: list[str] = []
        spans: list[tuple[int, int]] = []  # of words, where all are known
        position = 0
        for piece, gap in zip(pieces, gaps, strict=True):
            position += gap
            begin = position
            for end in piece.ends:
                spans.append((begin, position + end))
                begin = position + end
            words += piece.words
            position += piece.samples
        total = position + trail
        if len(spans) == len(words) and len(words) > 1 and rng.random() < 0.3:
            # Never before the first word ends: a part of a word is no example of silence.
            cut = max(spans[0][1], int(rng.uniform(0.2, 1.0) * total))
            for begin, end in spans:
                if begin + 0.35 * (end - begin) < cut < end:
                    cut = end  # neither said nor unsaid: move on to where it is said
            words = [w for w, (_, end) in zip(words, spans, strict=True) if end <= cut]
            total = cut
        language = language if words else "None"
        samples = int(total / speed)
        if samples > limit or samples < 0.1 * SAMPLE_RATE:
            return None
        joint = "" if language == "Chinese" else " "
        text = joint.join(words)
        return Plan(tuple(pieces), tuple(gaps), trail, speed, text, language, samples)


def words_of(clip: PackedClip) -> tuple[str, ...]:
    """Words as they are learned: a Chinese text is one."""
    return (clip.text,) if clip.language == "Chinese" else tuple(clip.text.split())


def spelt(words: tuple[str, ...]) -> bool:
    """Whether all words are letters or digits."""
    return all(len(word) == 1 or word in DIGITS for word in words)


def _single_words(piece: Piece) -> list[Piece]:
    """The aligned words of a clip as pieces of their own, but for those of an unlikely length."""
    out, begin = [], 0
    for word, end in zip(piece.words, piece.ends, strict=True):
        if 0.25 * SAMPLE_RATE < end - begin < 1.6 * SAMPLE_RATE:
            out.append(Piece(piece.start + begin, end - begin, (word,), (end - begin,)))
        begin = end
    return out


def _read_alignments(path: Path | None) -> dict[str, tuple[int, ...]]:
    if path is None or not path.exists():
        return {}
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["id"]: tuple(row["ends"]) for row in rows}
