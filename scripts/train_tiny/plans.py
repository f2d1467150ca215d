"""An example before it is made: which stretches of which clips, with which gaps, how fast."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a packed clip with its words; `ends` are the words' ends in samples."""

    start: int
    samples: int
    words: tuple[str, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One example before it is made; `samples` is its final length."""

    pieces: tuple[Piece, ...]
    gaps: tuple[int, ...]  # before each piece
    trail: int
    speed: float
    text: str
    language: str
    samples: int
