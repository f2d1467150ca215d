"""Edit distance between word or character sequences, and its sums per source."""

from collections.abc import Sequence
from dataclasses import dataclass


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Substitutions + deletions + insertions of the best alignment (Levenshtein)."""
    row = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(hypothesis, 1):
            best = min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != got))
            diagonal, row[j] = row[j], best
    return row[-1]


def units(text: str, language: str) -> list[str]:
    """Words, or characters in Chinese."""
    return list(text.replace(" ", "")) if language == "Chinese" else text.split()


@dataclass(slots=True)
class ErrorCount:
    """A running word (or character) error rate."""

    errors: int = 0
    units: int = 0
    clips: int = 0

    def add(self, reference: str, hypothesis: str, language: str) -> None:
        wanted = units(reference, language)
        self.errors += edit_distance(wanted, units(hypothesis, language))
        self.units += len(wanted)
        self.clips += 1

    @property
    def rate(self) -> float:
        return self.errors / max(1, self.units)
