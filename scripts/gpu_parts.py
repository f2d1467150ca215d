"""Parts of a bench that each have a time of their own, and results that are kept whatever becomes of the next part."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Budget:
    """`over` once `seconds` have passed since `began`."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        return self.began + self.seconds - time.monotonic()

    @property
    def over(self) -> bool:
        return self.left_s <= 0


Row = dict[str, object]
"""One result: names and numbers."""

Part = Callable[[Budget], Iterator[Row]]
"""Gives its results one by one, and stops when its time is over."""


@dataclass(slots=True)
class Report:
    """Rows by part, written to `path` after each part."""

    path: Path | None
    about: Row
    whole: Budget
    parts: dict[str, list[Row]] = field(default_factory=dict)

    def part(self, name: str, seconds: float, run: Part) -> None:
        """Run a part for about `seconds`, less when the whole has less left; what it raises is its last row."""
        rows = self.parts[name] = []
        budget = Budget(min(seconds, self.whole.left_s))
        if budget.over:
            rows.append({"skipped": "no time was left"})
        else:
            print(f"{name}: {budget.seconds:.0f} s", file=sys.stderr, flush=True)
            try:
                for row in run(budget):
                    rows.append(row)  # one by one, so that what came before a failure stays
            except Exception as error:  # a part's root: the others are worth having without it
                traceback.print_exc()
                rows.append({"failed": f"{type(error).__name__}: {error}"})
        self._write()

    def _write(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            left_s = round(self.whole.left_s, 1)
            self.path.write_text(json.dumps({**self.about, "left_s": left_s, "parts": self.parts}, indent=1))
