"""How many threads a training step should use while other processes come and go.

Two threads wait for one another; where a second core is shared, one thread alone is faster by half.
Measured, not guessed: mostly the better count, now and then the other.
"""


class ThreadChoice:
    """Chooses among `counts` by the speed last seen with each."""

    def __init__(self, counts: tuple[int, ...], try_every: int = 8) -> None:
        if not counts or min(counts) < 1:
            raise ValueError(f"thread counts must be positive, got {counts}")
        self._counts = counts
        self._try_every = try_every
        self._speeds: dict[int, float] = {}
        self._asked = 0

    def next(self, threads: int, speed: float) -> int:
        """The count for the next stretch, after a stretch with `threads` went at `speed`."""
        self._speeds[threads] = speed
        self._asked += 1
        untried = [count for count in self._counts if count not in self._speeds]
        if untried:
            return untried[0]
        if self._asked % self._try_every == 0:
            return self._counts[(self._counts.index(threads) + 1) % len(self._counts)]
        return max(self._counts, key=lambda count: self._speeds[count])
