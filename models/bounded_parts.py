"""Cut a sequence of sizes into parts that are run one after the other, so that what is held at a time is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def bounded_parts(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Slices of `sizes`, in order, whose sums are `most` at most; one size at least in each."""
    first, total = 0, 0
    for index, size in enumerate(sizes):
        if index > first and total + size > most:
            yield slice(first, index)
            first, total = index, 0
        total += size
    if first < len(sizes):
        yield slice(first, len(sizes))
