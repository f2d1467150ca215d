"""The audio pack: one flat int16 file at 16 kHz and one JSON line per clip.

A folder with `audio.i16` and `index.jsonl`. Clips are read through a memory map, so that several
loader processes share one copy. Knows nothing of splits or text beyond carrying them.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PackedClip:
    """One clip of a pack; `start` and `samples` count int16 samples at 16 kHz."""

    id: str
    start: int
    samples: int
    text: str  # in the training form; "" for no speech
    language: str  # English name, or "None"
    speaker: str
    source: str
    kind: str
    split: str
    licence: str


class PackWriter:
    """Appends clips to a new pack; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._audio = open(folder / "audio.i16", "wb")
        self._index = open(folder / "index.jsonl", "w", encoding="utf-8")
        self._position = 0

    def __enter__(self) -> "PackWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self._audio.close()
        self._index.close()

    def flush(self) -> None:
        """Make everything added so far readable through a Pack."""
        self._audio.flush()
        self._index.flush()

    def add(
        self,
        samples: NDArray[np.float32],
        *,
        id: str,
        text: str,
        language: str,
        speaker: str,
        source: str,
        kind: str,
        split: str,
        licence: str,
    ) -> PackedClip:
        pcm = np.round(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2")
        clip = PackedClip(id, self._position, pcm.size, text, language, speaker, source, kind, split, licence)
        self._audio.write(pcm.tobytes())
        self._index.write(json.dumps(asdict(clip), ensure_ascii=False) + "\n")
        self._position += pcm.size
        return clip


class Pack:
    """A pack opened for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with open(folder / "index.jsonl", encoding="utf-8") as lines:
            self.clips = [PackedClip(**json.loads(line)) for line in lines]
        self._audio: NDArray[np.int16] = np.memmap(folder / "audio.i16", dtype="<i2", mode="r")

    def audio(self, clip: PackedClip) -> NDArray[np.float32]:
        return self.samples(clip.start, clip.samples)

    def samples(self, start: int, count: int) -> NDArray[np.float32]:
        pcm = self._audio[start : start + count]
        return pcm.astype(np.float32) / 32768.0

    def select(self, splits: Iterable[str]) -> list[PackedClip]:
        wanted = set(splits)
        return [clip for clip in self.clips if clip.split in wanted]
