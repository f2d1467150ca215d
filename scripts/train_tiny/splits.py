"""Train, dev and test by speaker, seeded; by clip or text only where the data names no speakers.

Knows what each source can promise about its speakers. The same rows and seed give the same split.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clip:
    """What a split may look at."""

    path: str
    source: str
    speaker: str
    text: str


# source -> how its clips are divided, as the model card repeats it.
RULES: Mapping[str, str] = {
    "alnum": "by speaker",
    "pv-intent": "by voice cluster",
    "fsdd": "by speaker: theo is test; one clip in twenty of the others is dev",
    "moonshine": "by speaker: evmaki is test",
    "pv-wake": "by clip: the speakers are not named",
    "ovos-ww": "by clip: each contributor is the only one for most of his words",
    "asterisk-en": "by text: one voice",
    "asterisk-es": "by text: one voice",
    "cmn-hsk": "by text: one voice",
}
_TEST_SPEAKERS = {"fsdd:theo", "moonshine:evmaki"}


def assign(clips: Iterable[Clip], seed: int) -> dict[str, str]:
    """path -> "train" | "dev" | "test" for every clip; ValueError for a source without a rule."""
    by_source: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_source[clip.source].append(clip)
    result: dict[str, str] = {}
    for source, members in by_source.items():
        if source not in RULES:
            raise ValueError(f"no split rule for source {source!r}; known: {sorted(RULES)}")
        if source in ("alnum", "pv-intent"):
            shares = (0.22, 0.11) if source == "alnum" else (0.2, 0.08)
            result |= _by_speaker(members, seed, *shares)
        elif source in ("fsdd", "moonshine"):
            for clip in members:
                held = clip.speaker in _TEST_SPEAKERS
                result[clip.path] = "test" if held else _drawn(clip.path, seed, 0.0, 0.05)
        elif source in ("pv-wake", "ovos-ww"):
            for clip in members:
                result[clip.path] = _drawn(clip.path, seed, 0.15, 0.05)
        else:
            for clip in members:
                result[clip.path] = _drawn(clip.text, seed, 0.06, 0.03)
    return result


def _by_speaker(clips: list[Clip], seed: int, test: float, dev: float) -> dict[str, str]:
    """Whole speakers, in seeded order, fill test, then dev; a speaker with over an eighth of all
    clips stays in train, or little would be left to learn from."""
    counts: dict[str, int] = defaultdict(int)
    for clip in clips:
        counts[clip.speaker] += 1
    small = sorted(s for s, n in counts.items() if n <= len(clips) / 8)
    random.Random(seed).shuffle(small)
    split_of: dict[str, str] = {}
    for split, share in (("test", test), ("dev", dev)):
        taken = 0
        while small and taken < share * len(clips):
            speaker = small.pop()
            split_of[speaker] = split
            taken += counts[speaker]
    return {clip.path: split_of.get(clip.speaker, "train") for clip in clips}


def _drawn(key: str, seed: int, test: float, dev: float) -> str:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if draw < test else "dev" if draw < test + dev else "train"
