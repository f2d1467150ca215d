"""Detection of a decoding loop while it happens, so that it ends there and costs nothing more.

The official post-processing collapses a unit of up to 20 characters repeated 20 times after the fact; here tokens are
watched as they come. Speech that truly repeats ("no no no no") stays below the limits.
"""

from __future__ import annotations

from collections.abc import Sequence

# (longest unit in tokens, repetitions in a row that make it a loop)
LIMITS = ((2, 20), (8, 10), (32, 6))


def find_loop(tokens: Sequence[int]) -> int | None:
    """If `tokens` ends in a loop: how many of its tokens to keep (up to the first copy of the unit). Else None."""
    if not tokens or tokens[-1] not in tokens[-1 - LIMITS[-1][0] : -1]:
        return None  # the common case: this runs for every token
    last, shortest = tokens[-1], 1
    for longest, repetitions in LIMITS:
        for unit in range(shortest, longest + 1):
            span = unit * repetitions
            if span > len(tokens):
                break
            if tokens[-1 - unit] != last:
                continue
            start = len(tokens) - span
            if all(tokens[i] == tokens[i + unit] for i in range(start, len(tokens) - unit)):
                while start > 0 and tokens[start - 1] == tokens[start - 1 + unit]:
                    start -= 1
                return start + unit
        shortest = longest + 1
    return None
