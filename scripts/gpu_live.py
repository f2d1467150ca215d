"""How many live streams one accelerator serves: simulated arrivals against the real engine and the real model.

Every stream speaks all the time and asks for an update at its own regular instants. The clock is the real one while the
model works and jumps over the time in which nothing is due, so a probe takes as long as its computing. An update's
latency runs from the instant at which its audio was there to the delivery of a hypothesis that has heard it.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from scripts.gpu_model import Maker, text_tokens
from scripts.gpu_parts import Budget, Row
from scripts.scripted_speech import REVISED, speech
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.recognizer import Hypothesis, Recognizer, StreamOptions, StreamState
from steno.streaming.config import EngineOptions
from steno.streaming.engine import Engine
from steno.streaming.engine_door import EngineSession
from steno.streaming.loading import paced_for
from steno.streaming.metrics import Metrics
from steno.streaming.work import FeedAudio, HypothesisReady, LoadChanged, OpenStream, Result, StreamFailed, Update

INTERVALS_S = (0.5, 1.0, 0.32, 2.0)  # the first is what the targets name
ALLOWED_S = 0.2  # of the 95th percentile
CONTEXT_S = (20.0, 24.0)  # heard by a stream when a probe begins: 24 s in the middle of the probe, about
LEAD_S = 1.5  # served before counting: the engine finds its pace
REST_S = 10.0  # of nothing before that, so that what was heard at once is no load any more
PROBE_S = 4.0
FIRST_GUESS = 128
CLOSE_ENOUGH = 1.08  # between a count that holds and one that does not


class ArrivalClock:
    """Real seconds, and what was jumped over."""

    def __init__(self) -> None:
        self._jumped = 0.0

    def __call__(self) -> float:
        return time.perf_counter() + self._jumped

    def jump_to(self, instant: float) -> None:
        self._jumped += max(0.0, instant - self())


class ScriptedRecognizer:
    """A recognizer of scripted weights whose streams say 4 tokens for each second heard, and whose last hypothesis
    always ends in tokens that turn out wrong: what is confirmed, corrected and new is as with real speech.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self.slots = recognizer.slots

    def warm_up(self) -> None:
        self._recognizer.warm_up()

    def open(self, options: StreamOptions) -> StreamState:
        return self._recognizer.open(options, max_new_tokens=1)

    def feed(self, stream: StreamState, samples: Samples, *, final: bool = False) -> None:
        self._recognizer.feed(stream, samples, final=final)

    def step(self, streams: Sequence[StreamState]) -> list[Hypothesis]:
        for stream in streams:
            stream.max_new_tokens = text_tokens(stream.samples_fed / SAMPLE_RATE)
            stream.tokens[-REVISED:] = [token + 1 for token in stream.tokens[-REVISED:]]
        return self._recognizer.step(streams)

    def close(self, stream: StreamState) -> None:
        self._recognizer.close(stream)


@dataclass(slots=True)
class Talker:
    """One stream: what it sent and when, and how late it was answered."""

    clock: ArrivalClock
    speech: Samples  # all that is ever said
    door: EngineSession = field(init=False)
    sent: int = 0
    waiting: list[tuple[int, float]] = field(default_factory=list)  # samples sent, and when
    latencies_s: list[float] = field(default_factory=list)
    harm: str | None = None

    def receive(self, result: Result) -> None:
        now = self.clock()
        match result:
            case HypothesisReady(hypothesis=hypothesis):
                while self.waiting and self.waiting[0][0] <= hypothesis.samples_seen:
                    self.latencies_s.append(now - self.waiting.pop(0)[1])
            case StreamFailed(message=message):
                self.harm = message
            case LoadChanged():
                pass  # the engine says what it will do; what becomes of latencies is what counts

    def say(self, seconds: float, interval_s: float, at: float, *, begin: bool = False) -> None:
        """`seconds` of audio that was there at the instant `at`, and the wish for an update."""
        end = self.sent + round(seconds * SAMPLE_RATE)
        samples = self.speech[self.sent : end]
        opening = [OpenStream(0, None, (), "", words=False)] if begin else []
        self.door.submit([*opening, FeedAudio(0, samples), Update(0, round(interval_s * 1000))])
        self.sent = end
        self.waiting.append((end, at))


@dataclass(frozen=True, slots=True)
class Probe:
    """`holds`: every update came, and the 95th percentile of their latency was allowed."""

    streams: int
    p50_ms: float
    p95_ms: float
    busy: float  # share of the simulated time in which the engine worked
    holds: bool


def probe(recognizer: Recognizer, streams: int, interval_s: float, *, tiny: bool = False) -> Probe:
    """Serve `streams` for PROBE_S simulated seconds. All of them are closed afterwards."""
    clock = ArrivalClock()
    engine = Engine(ScriptedRecognizer(recognizer), paced_for(EngineOptions(), recognizer), Metrics(), clock=clock)
    seconds = 1.0 if tiny else PROBE_S
    low, high = (1.0, 2.0) if tiny else CONTEXT_S
    said = speech(high + 2 * seconds + LEAD_S + 2 * interval_s)
    talkers = [Talker(clock, said) for _ in range(streams)]
    generator = np.random.default_rng(streams)
    for talker in talkers:
        talker.door = engine.connect(talker.receive)
        talker.say(float(generator.uniform(low, high)), interval_s, clock(), begin=True)
    while any(talker.waiting and talker.harm is None for talker in talkers):
        clock.jump_to(clock() + (engine.turn() or 0.0))
    clock.jump_to(clock() + REST_S)
    _serve(engine, clock, talkers, interval_s, seconds if tiny else LEAD_S)
    for talker in talkers:
        talker.latencies_s.clear()
    busy = _serve(engine, clock, talkers, interval_s, seconds)
    for talker in talkers:
        talker.door.disconnect()
    engine.turn()
    late = [latency for talker in talkers for latency in talker.latencies_s]
    answered = bool(late) and not any(talker.harm or len(talker.waiting) > 1 for talker in talkers)
    p50, p95 = (float(value) for value in np.percentile(late, (50, 95))) if late else (np.inf, np.inf)
    return Probe(streams, p50 * 1e3, p95 * 1e3, busy, answered and p95 <= ALLOWED_S)


def _serve(
    engine: Engine[StreamState], clock: ArrivalClock, talkers: Sequence[Talker], interval_s: float, seconds: float
) -> float:
    """Let the talkers speak for `seconds`; returns the share of it in which the engine worked."""
    begin = clock()
    end = begin + seconds
    arrivals = [(begin + interval_s * index / len(talkers), index) for index in range(len(talkers))]
    heapq.heapify(arrivals)
    worked = 0.0
    while clock() < end:
        while arrivals[0][0] <= clock():
            at, index = arrivals[0]
            talkers[index].say(interval_s, interval_s, at)
            heapq.heapreplace(arrivals, (at + interval_s, index))
        before = time.perf_counter()
        wait_s = engine.turn()
        worked += time.perf_counter() - before
        if wait_s != 0.0:
            due = arrivals[0][0] if wait_s is None else min(arrivals[0][0], clock() + wait_s)
            clock.jump_to(due)
    return worked / (clock() - begin)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The largest count that was seen to hold, and all probes. `bounded_by`: what kept it from being larger."""

    interval_s: float
    streams: int
    bounded_by: str
    probes: list[Probe]


def capacity(recognizer: Recognizer, interval_s: float, guess: int, budget: Budget, *, tiny: bool = False) -> Capacity:
    """Search the largest number of streams that holds: doubling or halving from `guess`, then halving the gap."""
    slots = recognizer.slots or guess
    low, high = 0, slots + 1
    count = min(guess, slots)
    probes: list[Probe] = []
    bound = "time for the search"
    while not budget.over:
        probes.append(probe(recognizer, count, interval_s, tiny=tiny))
        if probes[-1].holds:
            low = count
        else:
            high = count
        if low == slots:
            bound = "slots"
            break
        if high <= 1 or low and high / low <= CLOSE_ENOUGH or high - low <= 1:
            bound = "latency"
            break
        count = min(2 * low, (low + high) // 2 if high <= slots else slots) if low else max(1, high // 2)
    return Capacity(interval_s, low, bound, probes)


def live(intervals_s: Sequence[float], maker: Maker, recognizer: Recognizer, budget: Budget) -> Iterator[Row]:
    """Capacities for each interval; half of the time is the first one's, the rest is shared by the others."""
    first: Capacity | None = None
    for index, interval_s in enumerate(intervals_s):
        if budget.over:
            return
        left = len(intervals_s) - index
        share = Budget(budget.left_s / (2 if left == len(intervals_s) > 1 else left))
        guess = 2 if maker.tiny else FIRST_GUESS
        if first is not None and first.streams:
            guess = max(1, round(first.streams * interval_s / first.interval_s))
        found = capacity(recognizer, interval_s, guess, share, tiny=maker.tiny)
        first = first or found
        yield asdict(found)
