"""How far update intervals are stretched, and how many updates share a step, so that finals find the thread free.

Knows how long the model was busy, from the instants it is told. Refuses to know streams, sessions and the clock.

A thread that is busy all the time makes every final wait for somebody's partial. So the stretch climbs a table of
factors, one rung per window, while the busy share of the last window is above `widen_above`; it goes down when the
share predicted for the rung below stays under `narrow_below` (the gap between the two keeps it from swinging).

A final that comes during a step waits for its end. So a step over updates takes no more streams than fit into a
budget of time, by what a stream cost lately: dozens where a batch is nearly free, one where each stream takes long.
"""

from collections import deque
from dataclasses import dataclass

_SMOOTHING = 0.3
_UNMEASURED_ROOM = 4  # the first step measures; a batch is never dearer per stream than one alone

FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True, slots=True)
class PaceRule:
    """The numbers of the rule; shares are fractions of `window_s` seconds, `step_s` is the budget of one step."""

    window_s: float = 2.0
    widen_above: float = 0.9
    narrow_below: float = 0.7
    step_s: float = 0.25


class Pace:
    """Told of every step through `ran`; asked for the factor through `factor(now)`."""

    def __init__(self, rule: PaceRule = PaceRule()) -> None:
        self._rule = rule
        self._rung = 0
        self._changed: float | None = None
        self._steps: deque[tuple[float, float]] = deque()
        self._stream_s: float | None = None
        self._bulk_s: float | None = None
        self._ended: float | None = None

    def ran(self, started: float, ended: float, updates: int) -> None:
        """Count one step of the model, from `started` to `ended` (seconds); `updates`: its streams, 0 where some of
        them were finals, which cost more.
        """
        if self._changed is None:
            self._changed = started
        self._steps.append((started, ended))
        self._ended = ended
        if updates:
            self._stream_s = _smoothed(self._stream_s, (ended - started) / updates)

    def ran_bulk(self, started: float, ended: float, streams: int) -> None:
        """Count one step over `streams` of bulk work: no load to give way to, but it says what such work costs."""
        self._bulk_s = _smoothed(self._bulk_s, (ended - started) / streams)

    @property
    def room(self) -> int:
        """How many updates fit into one step; at least 1."""
        if not self._stream_s:
            return _UNMEASURED_ROOM
        return max(1, int(self._rule.step_s / self._stream_s))

    @property
    def bulk_room(self) -> int:
        """How many streams of bulk work fit into one step; at least 1."""
        return max(1, int(self._rule.step_s / self._bulk_s)) if self._bulk_s else 1

    def overloaded(self, now: float) -> bool:
        """Whether the model was busy lately although updates are as far apart as they get. For any thread."""
        ended = self._ended
        return self._rung == len(FACTORS) - 1 and ended is not None and now - ended < self._rule.window_s

    def busy_share(self, now: float) -> float:
        """Share of the last window in which the model ran: 0 to 1."""
        begin = now - self._rule.window_s
        while self._steps and self._steps[0][1] <= begin:
            self._steps.popleft()
        return sum(end - max(start, begin) for start, end in self._steps) / self._rule.window_s

    def factor(self, now: float) -> float:
        """The stretch that holds from now on; moves at most one rung per window."""
        if self._changed is None or now - self._changed < self._rule.window_s:
            return FACTORS[self._rung]
        share = self.busy_share(now)
        if share == 0.0:
            self._rung = 0
        elif share > self._rule.widen_above and self._rung + 1 < len(FACTORS):
            self._rung += 1
            self._changed = now
        elif self._rung and self._share_below(share) < self._rule.narrow_below:
            self._rung -= 1
            self._changed = now
        return FACTORS[self._rung]

    def _share_below(self, share: float) -> float:
        return share * FACTORS[self._rung] / FACTORS[self._rung - 1]


def _smoothed(last: float | None, value: float) -> float:
    return value if last is None else last + _SMOOTHING * (value - last)
