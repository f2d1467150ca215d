"""Which streams the model steps next: earliest deadline first, finals before partials, one pending update each.

Knows stream keys, instants and deadlines, all given by the caller in seconds of one monotonic clock. Refuses to
know threads, sockets, samples, models, and the clock itself.

The rules, in the order in which they decide:

1. A live final goes first, oldest first. Partials past their deadline ride along in what is left of the batch, so
   that a steady run of finals (many sessions) cannot starve them.
2. Without a live final, every partial that is due goes, earliest deadline first.
3. Bulk work (files that somebody uploaded), updates and finals alike, goes when nothing live is due, or when it has
   waited `bulk_patience_s`: then it takes one turn, by itself, and never two in a row while live work is due.

An update is asked for many times and owed once: asking again while one is pending changes nothing.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_SPACING = 0.5
"""Without load the asker sets the rhythm; this share of the interval between two steps keeps one that sends audio
faster than it is spoken from taking everybody's turns."""


@dataclass(slots=True)
class _Ticket:
    """What one stream is owed. `None` instants mean: nothing asked."""

    bulk: bool
    interval_s: float = 0.0
    update_asked: float | None = None
    final_asked: float | None = None
    stepped: float | None = None


class Scheduler(Generic[Key]):
    """Tickets of the open streams; `next_batch` hands out the work and forgets what it handed out."""

    def __init__(self, *, max_batch: int, max_interval_s: float = 4.0, bulk_patience_s: float = 5.0) -> None:
        """`max_batch` streams at most per batch; `max_interval_s` bounds what stretching makes of an interval.

        Raises ValueError for a batch below 1.
        """
        if max_batch < 1:
            raise ValueError(f"max_batch is {max_batch}, expected at least 1")
        self._max_batch = max_batch
        self._max_interval_s = max_interval_s
        self._bulk_patience_s = bulk_patience_s
        self._tickets: dict[Key, _Ticket] = {}
        self._bulk_went_last = False
        self.factor = 1.0
        """By how much every update interval is stretched at present; the engine's pace sets it."""

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, key: Key) -> bool:
        return key in self._tickets

    @property
    def waiting(self) -> int:
        """Streams that are owed an update or a final."""
        return sum(
            ticket.update_asked is not None or ticket.final_asked is not None for ticket in self._tickets.values()
        )

    def add(self, key: Key, *, bulk: bool = False) -> None:
        """Open a ticket. Raises ValueError when `key` has one."""
        if key in self._tickets:
            raise ValueError(f"stream {key!r} is already scheduled")
        self._tickets[key] = _Ticket(bulk)

    def pending(self, key: Key) -> bool:
        """True while the stream is owed an update or its final."""
        ticket = self._tickets[key]
        return ticket.update_asked is not None or ticket.final_asked is not None

    def remove(self, key: Key) -> None:
        """Forget the stream and all it is owed; unknown keys are fine (a cancel may cross a final)."""
        self._tickets.pop(key, None)

    def ask_update(self, key: Key, now: float, interval_s: float) -> None:
        """Ask for a partial, `interval_s` or more after the stream's last step.

        Coalesced while one is pending; ignored after a final was asked for.
        """
        ticket = self._tickets[key]
        ticket.interval_s = interval_s
        if ticket.final_asked is None and ticket.update_asked is None:
            ticket.update_asked = now

    def ask_final(self, key: Key, now: float) -> None:
        """Ask for the final; a pending update is dropped, for the final says more."""
        ticket = self._tickets[key]
        ticket.update_asked = None
        if ticket.final_asked is None:
            ticket.final_asked = now

    def stretched(self, interval_s: float) -> float:
        """The interval that a session which wants `interval_s` gets at present."""
        return max(interval_s, min(interval_s * self.factor, self._max_interval_s))

    def next_batch(self, now: float, max_updates: int | None = None, max_bulk: int = 1) -> list[Key]:
        """Take what must run now, most urgent first; empty when nothing is due.

        `max_updates` (1 or more) bounds the updates in it, not the finals; `max_bulk` a batch of bulk work.
        """
        batch = self._choose(now, max_updates, max_bulk)[: self._max_batch]
        for key in batch:
            ticket = self._tickets[key]
            ticket.update_asked = ticket.final_asked = None
            ticket.stepped = now
        return batch

    def next_due(self) -> float | None:
        """The earliest instant at which `next_batch` would give something; None when nothing is owed."""
        instants = [
            self._update_due(ticket) if ticket.final_asked is None else ticket.final_asked
            for ticket in self._tickets.values()
            if ticket.final_asked is not None or ticket.update_asked is not None
        ]
        return min(instants, default=None)

    def _update_due(self, ticket: _Ticket) -> float:
        """The instant from which the pending update may run."""
        assert ticket.update_asked is not None
        if ticket.stepped is None or ticket.bulk:
            return ticket.update_asked
        spacing = ticket.interval_s * _SPACING if self.factor == 1.0 else self.stretched(ticket.interval_s)
        return max(ticket.update_asked, ticket.stepped + spacing)

    def _choose(self, now: float, max_updates: int | None, max_bulk: int) -> list[Key]:
        finals: list[tuple[float, Key]] = []
        bulk: list[tuple[float, Key]] = []
        updates: list[tuple[float, Key]] = []
        for key, ticket in self._tickets.items():
            if ticket.final_asked is not None:
                (bulk if ticket.bulk else finals).append((ticket.final_asked, key))
            elif ticket.update_asked is not None and ticket.bulk:
                bulk.append((ticket.update_asked, key))
            elif ticket.update_asked is not None and self._update_due(ticket) <= now:
                # The deadline: when the next update would be wanted, were this one on time.
                deadline = self._update_due(ticket) + self.stretched(ticket.interval_s)
                updates.append((deadline, key))
        if bulk and self._bulk_may_go(min(asked for asked, _ in bulk), now, live=bool(finals or updates)):
            self._bulk_went_last = True
            return [key for _, key in sorted(bulk, key=_instant)[:max_bulk]]
        self._bulk_went_last = False
        if finals:
            updates = [(deadline, key) for deadline, key in updates if deadline <= now]
        return [key for _, key in sorted(finals, key=_instant) + sorted(updates, key=_instant)[:max_updates]]

    def _bulk_may_go(self, asked: float, now: float, *, live: bool) -> bool:
        patient = asked + self._bulk_patience_s > now
        return not live or not (patient or self._bulk_went_last)


def _instant(entry: tuple[float, Hashable]) -> float:
    return entry[0]
