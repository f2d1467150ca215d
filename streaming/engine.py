"""The engine: one model thread, a bounded inbox in front of it, results delivered behind it.

Knows sessions only as (who asked, segment number, what to do) and as a callable that takes results. Refuses to
know sockets, asyncio, the wire protocol and tensors. Which stream runs when is the scheduler's affair, how a batch is
run and a broken stream isolated the stepper's, how far intervals stretch under load the pace's.

`Engine.turn` is the whole engine: take the inbox, step one batch, deliver. The thread does nothing but call it, so
tests call it themselves with a clock of their own.
"""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from steno.models.recognizer import Hypothesis, StreamOptions

from .config import EngineOptions
from .engine_door import Deliver, EngineFull, EngineSession, EngineStopped
from .metrics import Metrics
from .pace import FACTORS, Pace, PaceRule
from .scheduler import Scheduler
from .stepper import RecognizerLike, StepFailed, Stepper
from .word_timing import AlignerLike, WordTiming
from .work import (
    SAMPLE_RATE,
    Cancel,
    FeedAudio,
    Finish,
    HypothesisReady,
    LoadChanged,
    OpenStream,
    Result,
    StreamFailed,
    Update,
    Work,
)

logger = logging.getLogger(__name__)

MAX_FINAL_STEPS = 64
"""A final that is not ready after this many steps counts as failed: no stream may keep the thread for ever."""

DEFAULT_BATCH = 32
"""Streams of one pass where the options say nothing: what a CPU takes."""

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class _Leave:
    """Inbox item: the session is gone."""


@dataclass(slots=True, eq=False)
class _Member:
    """One connected session.

    `wanted_ms` is the shortest interval that it ever asked for: a session may answer `LoadChanged` by asking for
    less, and must get more again when the load is gone. `waiting`: its items in the inbox, under the engine's lock.
    """

    number: int
    deliver: Deliver
    bulk: bool
    put: Callable[["_Member", Sequence[Work]], None]
    leave: Callable[["_Member"], None]
    wanted_ms: int | None = None
    announced_ms: int | None = None
    waiting: int = 0
    gone: bool = False

    def submit(self, work: Sequence[Work]) -> None:
        self.put(self, work)

    def disconnect(self) -> None:
        self.leave(self)


_StreamKey: TypeAlias = tuple[int, int]
"""(session number, segment)"""


@dataclass(slots=True)
class _Open:
    """An utterance being recognised, as the engine sees it."""

    member: _Member
    segment: int
    words: bool = False
    asked: float = 0.0
    final_steps: int = 0


class Engine(Generic[S]):
    """Owns the model thread. `start`, then `connect` for each session, `stop` at the end."""

    def __init__(
        self,
        recognizer: RecognizerLike[S],
        options: EngineOptions,
        metrics: Metrics,
        *,
        aligner: AlignerLike | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recognizer = recognizer
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._timing = WordTiming(aligner, metrics)
        self._stepper: Stepper[_StreamKey, S] = Stepper(recognizer)
        self._scheduler: Scheduler[_StreamKey] = Scheduler(
            max_batch=options.max_batch or DEFAULT_BATCH, max_interval_s=options.max_interval_ms / 1000
        )
        rule = PaceRule() if options.step_budget_ms is None else PaceRule(step_s=options.step_budget_ms / 1000)
        self._pace = Pace(rule)
        self._open: dict[_StreamKey, _Open] = {}
        self._members: dict[int, _Member] = {}
        self._numbers = itertools.count()
        self._inbox: deque[tuple[_Member, Work | _Leave]] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._warm = threading.Event()
        self._step_began: float | None = None

    # For any thread

    @property
    def ready(self) -> bool:
        return self._warm.is_set() and not self._stopping

    @property
    def alive(self) -> bool:
        return not self._stopping

    @property
    def slots(self) -> int | None:
        return self._recognizer.slots

    def busy_s(self) -> float:
        began = self._step_began
        return 0.0 if began is None else self._clock() - began

    def refusal(self) -> str | None:
        slots = self.slots
        if slots is not None and max(len(self._members), len(self._open)) >= slots:
            return f"all {slots} slots of the model are in use"
        if self._pace.overloaded(self._clock()):
            return f"the model is busy, though updates are {FACTORS[-1]:g} times as far apart as was asked for"
        return None

    def start(self) -> None:
        """Start the thread; it warms the model up first (see `wait_ready`)."""
        assert self._thread is None
        self._thread = threading.Thread(target=self._run, name="steno-engine", daemon=True)
        self._thread.start()

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Block until the warm-up is over; True when the engine runs."""
        self._warm.wait(timeout_s)
        return self.ready

    def stop(self) -> None:
        """End the thread after its present step and join it; open streams get no more results."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def connect(self, deliver: Deliver, *, bulk: bool = False) -> EngineSession:
        with self._wake:
            member = _Member(next(self._numbers), deliver, bulk, self._put, self._leave)
            self._members[member.number] = member
        return member

    def _put(self, member: _Member, work: Sequence[Work]) -> None:
        with self._wake:
            if self._stopping:
                raise EngineStopped("the engine is not running")
            if member.waiting + len(work) > self._options.max_inbox:
                raise EngineFull(f"{member.waiting} work items wait, at most {self._options.max_inbox} may")
            member.waiting += len(work)
            self._inbox.extend((member, item) for item in work)
            self._metrics.inbox.set(len(self._inbox))
            self._wake.notify()

    def _leave(self, member: _Member) -> None:
        with self._wake:
            if not member.gone:
                member.gone = True
                del self._members[member.number]
                self._inbox.append((member, _Leave()))
                self._wake.notify()

    # For the engine's thread

    def turn(self) -> float | None:
        """Take the inbox, step one batch, deliver. Returns the seconds until more is due; None: until work comes."""
        self._take_inbox()
        now = self._clock()
        self._spread_load(now)
        batch = self._scheduler.next_batch(now, self._pace.room, self._pace.bulk_room)
        if batch:
            self._step(batch, now)
        due = self._scheduler.next_due()
        return None if due is None else max(0.0, due - self._clock())

    def warm_up(self) -> None:
        """Recognise a short noise, so that no user pays for first-time work; raises what the model raises."""
        self._recognizer.warm_up()
        rng = np.random.default_rng(0)
        noise = (rng.standard_normal(2 * SAMPLE_RATE) * 0.01).astype(np.float32)
        stream = self._recognizer.open(StreamOptions())
        self._recognizer.feed(stream, noise)
        self._recognizer.step([stream])
        self._recognizer.feed(stream, noise, final=True)
        self._recognizer.step([stream])
        self._recognizer.close(stream)
        self._timing.words(noise, "one two")

    def _run(self) -> None:
        try:
            if self._options.warm_up:
                self.warm_up()
            self._warm.set()
            wait_s: float | None = 0.0
            while self._sleep(wait_s):
                wait_s = self.turn()
        except Exception:  # the thread's root
            logger.exception("the engine's thread ended by a fault")
            self._metrics.internal_errors.inc()
        finally:
            self._end()

    def _sleep(self, wait_s: float | None) -> bool:
        """Wait until there is something to do; False when the engine is to stop."""
        with self._wake:
            if not self._inbox and not self._stopping and wait_s != 0.0:
                self._wake.wait(wait_s)
            return not self._stopping

    def _end(self) -> None:
        with self._wake:
            self._stopping = True
            self._inbox.clear()
        self._warm.set()
        for opened in self._open.values():
            self._deliver(opened.member, StreamFailed(opened.segment, "the recognition engine stopped"))
        self._open.clear()

    def _take_inbox(self) -> None:
        with self._wake:
            taken, self._inbox = self._inbox, deque()
            for member, _ in taken:
                member.waiting = 0
        now = self._clock()
        for member, item in taken:
            if isinstance(item, _Leave):
                self._forget(member)
            elif not member.gone:
                self._apply(member, item, now)
        self._metrics.inbox.set(0)
        self._metrics.streams.set(len(self._open))

    def _apply(self, member: _Member, work: Work, now: float) -> None:
        key = (member.number, work.segment)
        if isinstance(work, OpenStream):
            self._open_stream(key, member, work)
        elif key not in self._open:
            return  # it failed before; the session was told, and what it sent since is of no use
        elif isinstance(work, FeedAudio):
            self._metrics.audio_seconds.inc(len(work.samples) / SAMPLE_RATE)
            self._check(key, self._stepper.feed(key, work.samples))
        elif isinstance(work, Update):
            self._ask_update(key, member, work.interval_ms, now)
        elif isinstance(work, Finish):
            self._open[key].asked = now
            self._scheduler.ask_final(key, now)
            self._check(key, self._stepper.finish(key))
        else:
            assert isinstance(work, Cancel)
            self._metrics.streams_cancelled.inc()
            self._close(key)

    def _open_stream(self, key: _StreamKey, member: _Member, work: OpenStream) -> None:
        options = StreamOptions(work.language, tuple(work.languages), work.context)
        failed = self._stepper.open(key, options)
        if failed is not None:
            self._metrics.streams_failed.inc()
            self._deliver(member, StreamFailed(work.segment, failed.reason))
            return
        self._open[key] = _Open(member, work.segment, work.words)
        self._scheduler.add(key, bulk=member.bulk)

    def _ask_update(self, key: _StreamKey, member: _Member, interval_ms: int, now: float) -> None:
        if member.wanted_ms is None or interval_ms < member.wanted_ms:
            member.wanted_ms = member.announced_ms = interval_ms
            self._announce(member)
        if not self._scheduler.pending(key):
            self._open[key].asked = now
        self._scheduler.ask_update(key, now, member.wanted_ms / 1000)

    def _spread_load(self, now: float) -> None:
        """Stretch or shrink the update intervals, and tell every session whose interval changes."""
        factor = self._pace.factor(now)
        if factor == self._scheduler.factor:
            return
        self._scheduler.factor = factor
        self._metrics.interval_factor.set(factor)
        with self._wake:
            members = list(self._members.values())
        for member in members:
            self._announce(member)

    def _announce(self, member: _Member) -> None:
        if member.wanted_ms is None:
            return  # it never asked for an update
        interval_ms = round(self._scheduler.stretched(member.wanted_ms / 1000) * 1000)
        if interval_ms != member.announced_ms:
            member.announced_ms = interval_ms
            self._deliver(member, LoadChanged(interval_ms))

    def _step(self, batch: list[_StreamKey], started: float) -> None:
        failures = self._stepper.failures
        bulk = all(self._open[key].member.bulk for key in batch)
        self._step_began = started
        outcomes = self._stepper.step(batch)
        self._step_began = None
        ended = self._clock()
        updates_only = not any(key in self._stepper and self._stepper.finished(key) for key in batch)
        if bulk:  # files fill what live sessions leave: that is no load to give way to
            self._pace.ran_bulk(started, ended, len(batch))
        else:
            self._pace.ran(started, ended, len(batch) if updates_only else 0)
        self._metrics.batch.observe(len(batch))
        self._metrics.step_seconds.observe(ended - started)
        self._metrics.step_failures.inc(self._stepper.failures - failures)
        # Aligning takes time: whoever did not ask for words has its result first.
        for key, outcome in sorted(outcomes, key=lambda each: self._open[each[0]].words):
            if isinstance(outcome, StepFailed):
                self._fail(key, outcome.reason)
            else:
                self._publish(key, outcome, ended)

    def _publish(self, key: _StreamKey, hypothesis: Hypothesis, now: float) -> None:
        opened = self._open[key]
        if not self._stepper.finished(key):
            self._metrics.partial_wait_seconds.observe(now - opened.asked)
            self._deliver(opened.member, HypothesisReady(opened.segment, hypothesis))
            return
        if not hypothesis.final:
            opened.final_steps += 1
            if opened.final_steps >= MAX_FINAL_STEPS:
                self._fail(key, f"no final after {MAX_FINAL_STEPS} steps")
            else:
                self._scheduler.ask_final(key, opened.asked)
            return
        self._metrics.final_wait_seconds.observe(now - opened.asked)
        words = self._timing.words(self._stepper.audio(key), hypothesis.text) if opened.words else None
        self._close(key)
        self._deliver(opened.member, HypothesisReady(opened.segment, hypothesis, words))

    def _check(self, key: _StreamKey, failed: StepFailed | None) -> None:
        if failed is not None:
            self._fail(key, failed.reason)

    def _fail(self, key: _StreamKey, reason: str) -> None:
        opened = self._open[key]
        self._metrics.streams_failed.inc()
        self._close(key)
        self._deliver(opened.member, StreamFailed(opened.segment, reason))

    def _forget(self, member: _Member) -> None:
        for key in [key for key, opened in self._open.items() if opened.member is member]:
            self._metrics.streams_cancelled.inc()
            self._close(key)

    def _close(self, key: _StreamKey) -> None:
        del self._open[key]
        self._scheduler.remove(key)
        self._stepper.close(key)

    def _deliver(self, member: _Member, result: Result) -> None:
        if not member.gone:
            member.deliver(result)
