"""The engine in virtual time: turns are called by hand, the fake recognizer lets time pass.

One class of tests at the end runs the real thread, synchronised by events, never by sleeping.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from steno.streaming.config import EngineOptions
from steno.streaming.engine import Engine
from steno.streaming.engine_door import EngineFull, EngineSession, EngineStopped
from steno.streaming.metrics import Metrics
from steno.streaming.work import (
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
from tests.fakes import POISON, FakeRecognizer, FakeStream, VirtualClock, tone

Samples = NDArray[np.float32]


@dataclass
class House:
    """An engine on a virtual clock. Each step costs `step_cost_s` and `stream_cost_s` per stream."""

    step_cost_s: float = 0.01
    stream_cost_s: float = 0.0
    options: EngineOptions = field(default_factory=EngineOptions)
    steps_to_final: int = 1
    slots: int | None = None

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.recognizer = FakeRecognizer(before_step=self._cost, steps_to_final=self.steps_to_final, slots=self.slots)
        self.metrics = Metrics()
        self.engine = Engine(self.recognizer, self.options, self.metrics, clock=self.clock)

    def _cost(self, streams: Sequence[FakeStream]) -> None:
        self.clock.advance(self.step_cost_s + self.stream_cost_s * len(streams))

    def join(self, *, bulk: bool = False) -> "Talker":
        talker = Talker()
        talker.door = self.engine.connect(talker.results.append, bulk=bulk)
        return talker

    def settle(self) -> None:
        """Turn until nothing is due, letting the clock jump to what is."""
        for _ in range(10_000):
            wait_s = self.engine.turn()
            if wait_s is None:
                return
            self.clock.advance(wait_s)
        raise AssertionError("the engine never settles")

    def value(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(name)
        assert value is not None, name
        return value


@dataclass
class Talker:
    """A connected session and what was delivered to it."""

    results: list[Result] = field(default_factory=list)
    door: EngineSession = field(init=False)

    def say(self, audio: Samples, *, segment: int = 0, update: bool = True, finish: bool = False) -> None:
        work: list[Work] = [OpenStream(segment, None, (), "", False), FeedAudio(segment, audio)]
        if update:
            work.append(Update(segment, 500))
        if finish:
            work.append(Finish(segment))
        self.door.submit(work)

    @property
    def texts(self) -> list[tuple[int, str, bool]]:
        return [
            (result.segment, result.hypothesis.text, result.hypothesis.final)
            for result in self.results
            if isinstance(result, HypothesisReady)
        ]

    def of(self, kind: type[StreamFailed] | type[LoadChanged]) -> list[Result]:
        return [result for result in self.results if isinstance(result, kind)]


def test_an_utterance_gives_partials_and_one_final() -> None:
    house = House()
    talker = house.join()
    talker.say(tone(0.1, 0.2))
    house.settle()
    talker.door.submit([FeedAudio(0, tone(0.2, 0.1)), Finish(0)])
    house.settle()
    assert talker.texts == [(0, "w100 w100", False), (0, "w100 w100 w200", True)]
    assert house.recognizer.open_streams == {}


def test_updates_asked_during_a_long_step_are_coalesced() -> None:
    house = House()
    talker = house.join()
    talker.say(tone(0.1, 0.1))
    for _ in range(20):
        talker.door.submit([FeedAudio(0, tone(0.1, 0.1)), Update(0, 500)])
    house.settle()
    assert len(talker.texts) == 1
    assert talker.texts[0][1].count("w100") == 21


def test_a_client_faster_than_its_interval_is_slowed() -> None:
    house = House()
    talker = house.join()
    talker.say(tone(0.1, 0.1))
    instants: list[float] = []
    for _ in range(100):  # ten seconds of packets of 100 ms
        if house.engine.turn() == 0.0:
            house.engine.turn()
        if len(talker.results) > len(instants):
            instants.append(house.clock())
        talker.door.submit([FeedAudio(0, tone(0.1, 0.1)), Update(0, 500)])
        house.clock.advance(0.1)
    gaps = np.diff(instants)
    assert gaps.min() >= 0.24
    assert gaps.max() <= 0.41


def test_streams_of_several_sessions_share_a_step() -> None:
    house = House()
    talkers = [house.join() for _ in range(4)]
    for index, talker in enumerate(talkers):
        talker.say(tone(0.1 * (index + 1), 0.1))
    house.settle()
    assert len(house.recognizer.steps) == 1
    assert [talker.texts for talker in talkers] == [[(0, f"w{100 * (index + 1)}", False)] for index in range(4)]


def test_a_final_overtakes_waiting_partials() -> None:
    house = House(options=EngineOptions(max_batch=2))
    early = [house.join() for _ in range(4)]
    for talker in early:
        talker.say(tone(0.1, 0.1))
    late = house.join()
    late.say(tone(0.1, 0.1), finish=True)
    house.engine.turn()
    assert late.texts == [(0, "w100", True)]
    assert not any(talker.texts for talker in early)


def test_a_final_that_takes_several_steps_is_delivered_once() -> None:
    house = House(steps_to_final=3)
    talker = house.join()
    talker.say(tone(0.1, 0.1), finish=True)
    house.settle()
    assert talker.texts == [(0, "w100", True)]
    assert len(house.recognizer.steps) == 3


def test_a_final_that_never_comes_is_given_up() -> None:
    house = House(steps_to_final=1_000_000)
    talker = house.join()
    talker.say(tone(0.1, 0.1), finish=True)
    house.settle()
    assert talker.results == [StreamFailed(0, "no final after 64 steps")]
    assert house.recognizer.open_streams == {}


def test_cancel_frees_the_stream_and_delivers_nothing() -> None:
    house = House()
    talker = house.join()
    talker.say(tone(0.1, 0.1))
    talker.door.submit([Cancel(0)])
    house.settle()
    assert talker.results == []
    assert house.recognizer.open_streams == {}
    assert house.value("steno_streams_cancelled_total") == 1


def test_disconnect_frees_every_stream_of_that_session_only() -> None:
    house = House()
    gone, here = house.join(), house.join()
    gone.say(tone(0.1, 0.1))
    gone.say(tone(0.1, 0.1), segment=1)
    here.say(tone(0.2, 0.1))
    house.settle()
    before = list(gone.results)
    gone.door.submit([FeedAudio(0, tone(0.1, 0.1)), Update(0, 500)])
    gone.door.disconnect()
    gone.door.disconnect()
    house.settle()
    assert gone.results == before
    assert len(house.recognizer.open_streams) == 1
    here.door.submit([Finish(0)])
    house.settle()
    assert here.texts[-1] == (0, "w200", True)


def test_a_poisoned_stream_does_not_take_others_along() -> None:
    """Eight in a batch, one poisoned: seven get the text that they would have got, one a failure."""
    house = House()
    talkers = [house.join() for _ in range(8)]
    for index, talker in enumerate(talkers):
        audio = tone(0.1 * (index + 1), 0.2)
        if index == 5:
            audio[7] = POISON
        talker.say(audio, finish=index % 2 == 0)
    house.settle()
    for index, talker in enumerate(talkers):
        if index == 5:
            assert talker.results == [StreamFailed(0, "the model failed on this utterance (FakePoisoned)")]
        else:
            word = f"w{100 * (index + 1)}"
            assert talker.texts == [(0, f"{word} {word}", index % 2 == 0)]
    assert house.value("steno_streams_failed_total") == 1
    assert house.value("steno_step_failures_total") >= 2


def test_the_engine_lives_on_after_poison() -> None:
    house = House()
    talker = house.join()
    poison = tone(0.1, 0.1)
    poison[0] = POISON
    talker.say(poison)
    house.settle()
    talker.door.submit([FeedAudio(0, tone(0.1, 0.1)), Update(0, 500), Finish(0)])
    talker.say(tone(0.3, 0.1), segment=1, finish=True)
    house.settle()
    assert len(talker.of(StreamFailed)) == 1
    assert talker.texts == [(1, "w300", True)]
    assert house.recognizer.open_streams == {}


def test_a_step_that_fails_once_costs_nobody_anything() -> None:
    house = House()
    tries: list[int] = []

    def fail_first(streams: Sequence[FakeStream]) -> None:
        tries.append(len(streams))
        if len(tries) == 1:
            for stream in streams:
                stream.broken = True
            raise MemoryError("the device is full for once")

    house.recognizer = FakeRecognizer(before_step=fail_first)
    house.engine = Engine(house.recognizer, house.options, house.metrics, clock=house.clock)
    talkers = [house.join() for _ in range(4)]
    for talker in talkers:
        talker.say(tone(0.1, 0.1), finish=True)
    house.settle()
    assert tries == [4, 2, 2]
    assert all(talker.texts == [(0, "w100", True)] for talker in talkers)


def test_options_that_the_recognizer_refuses_fail_that_stream() -> None:
    house = House()
    talker = house.join()
    talker.door.submit([OpenStream(0, "Klingon", (), "", False), FeedAudio(0, tone(0.1, 0.1)), Finish(0)])
    house.settle()
    assert len(talker.of(StreamFailed)) == 1
    assert talker.texts == []


def test_the_inbox_is_bounded_all_or_nothing() -> None:
    house = House(options=EngineOptions(max_inbox=16))
    talker = house.join()
    talker.say(tone(0.1, 0.1))
    feeds = [FeedAudio(0, tone(0.1, 0.1)) for _ in range(14)]
    with pytest.raises(EngineFull, match="3 work items wait, at most 16 may"):
        talker.door.submit(feeds)
    talker.door.submit(feeds[:13])
    house.join().say(tone(0.1, 0.1))  # the bound is each session's own
    house.engine.turn()
    talker.door.submit(feeds[:13])  # there is room again
    talker.door.disconnect()  # always taken
    house.settle()
    assert len(house.recognizer.open_streams) == 1


def test_under_load_intervals_widen_and_sessions_are_told_and_come_back() -> None:
    """Twelve talkers whose updates need 1.2 s of model per second; then nine leave."""
    house = House(step_cost_s=0.0, stream_cost_s=0.05)
    talkers = [house.join() for _ in range(12)]
    for talker in talkers:
        talker.say(tone(0.1, 0.1))

    def talk(crowd: list[Talker], seconds: float) -> None:
        end = house.clock() + seconds
        while house.clock() < end:
            for talker in crowd:
                talker.door.submit([Update(0, 500)])
            wait_s = house.engine.turn()
            house.clock.advance(0.02 if wait_s is None else min(wait_s, 0.02))

    talk(talkers, 20.0)
    told = [talker.of(LoadChanged) for talker in talkers]
    assert all(changes[:1] == [LoadChanged(750)] for changes in told)
    assert house.value("steno_interval_factor") in (1.5, 2.0)
    for talker in talkers[3:]:
        talker.door.disconnect()
    talk(talkers[:3], 20.0)
    assert all(talker.of(LoadChanged)[-1] == LoadChanged(500) for talker in talkers[:3])


def test_a_final_waits_for_one_step_of_bounded_length() -> None:
    """Sixteen talkers, each update takes 0.1 s of model; a step over all of them would take 1.6 s."""
    house = House(step_cost_s=0.0, stream_cost_s=0.1, options=EngineOptions(max_batch=32))
    crowd = [house.join() for _ in range(16)]
    for talker in crowd:
        talker.say(tone(0.1, 0.1))
    worst = 0.0
    for number in range(40):
        for talker in crowd:
            talker.door.submit([Update(0, 500)])
        house.engine.turn()
        quick = house.join()
        asked = house.clock()
        quick.say(tone(0.2, 0.1), finish=True)
        while not quick.texts:
            house.engine.turn()
        if number > 10:  # it has measured what an update costs
            worst = max(worst, house.clock() - asked)
        quick.door.disconnect()
    assert worst <= 0.31  # the final itself, and the overdue updates that ride along
    assert all(len(talker.texts) >= 3 for talker in crowd)


def test_audio_that_the_recognizer_refuses_fails_that_stream() -> None:
    house = House()
    sick, well = house.join(), house.join()
    sick.say(np.full(1600, np.nan, np.float32), finish=True)
    well.say(tone(0.1, 0.1), finish=True)
    house.settle()
    assert sick.results == [StreamFailed(0, "the model failed on this utterance (ValueError)")]
    assert well.texts == [(0, "w100", True)]
    assert house.recognizer.open_streams == {}


def test_uploaded_files_let_live_sessions_go_first() -> None:
    house = House(step_cost_s=1.0)
    files, live = house.join(bulk=True), house.join()
    files.say(tone(0.1, 1.0), update=False, finish=True)
    live.say(tone(0.2, 0.1), finish=True)
    house.engine.turn()
    assert live.texts == [(0, "w200", True)]
    assert files.texts == []
    house.settle()
    assert files.texts[-1][2]


def test_uploaded_files_are_no_load_to_give_way_to() -> None:
    house = House(step_cost_s=1.0)
    files, live = house.join(bulk=True), house.join()
    for number in range(8):
        files.say(tone(0.1, 1.0), segment=number, update=False, finish=True)
        house.settle()
    live.say(tone(0.2, 0.1))
    house.engine.turn()
    assert not [each for each in live.results if isinstance(each, LoadChanged)]
    assert house.value("steno_interval_factor") in (0, 1)


def test_uploaded_files_share_a_step_that_has_room_and_live_sessions_go_before() -> None:
    house = House(step_cost_s=0.01)
    files, live = house.join(bulk=True), house.join()
    files.say(tone(0.1, 1.0), segment=0, update=False, finish=True)
    house.settle()  # the first one measures
    for number in range(1, 9):
        files.say(tone(0.1, 1.0), segment=number, update=False, finish=True)
    live.say(tone(0.2, 0.1), finish=True)
    house.engine.turn()
    assert live.texts == [(0, "w200", True)]
    house.settle()
    assert [len(step) for step in house.recognizer.steps] == [1, 1, 8]


def test_a_session_more_than_there_are_slots_would_be_refused() -> None:
    house = House(slots=2)
    first = house.join()
    assert house.engine.refusal() is None
    second = house.join()
    assert house.engine.refusal() == "all 2 slots of the model are in use"
    second.door.disconnect()
    assert house.engine.refusal() is None
    first.say(tone(0.1, 0.1), segment=0)
    first.say(tone(0.1, 0.1), segment=1)
    first.say(tone(0.1, 0.1), segment=2)
    house.settle()
    assert "all 2 slots" in str(house.engine.refusal())  # its utterances hold both
    assert [each for each in first.results if isinstance(each, StreamFailed)] == [
        StreamFailed(2, "all 2 slots of the device's memory are in use")
    ]


def test_an_engine_that_cannot_keep_up_takes_nobody_more() -> None:
    house = House(stream_cost_s=0.5)
    talkers = [house.join() for _ in range(4)]
    for number, talker in enumerate(talkers):
        talker.say(tone(0.1 + number / 10, 0.1))
    while house.engine.refusal() is None:
        for talker in talkers:
            talker.door.submit([FeedAudio(0, tone(0.1, 0.01)), Update(0, 100)])
        house.clock.advance(house.engine.turn() or 0.01)
        assert house.clock.now < 2000, "it never refuses"
    assert "8 times as far apart" in str(house.engine.refusal())
    house.clock.advance(10)
    assert house.engine.refusal() is None


def test_the_recognizer_is_warmed_up_before_the_engine_is_ready() -> None:
    house = House()
    house.engine.warm_up()
    assert house.recognizer.warmed_up


def test_audio_and_waits_are_counted() -> None:
    house = House(step_cost_s=0.25)
    talker = house.join()
    talker.say(tone(0.1, 1.0), finish=True)
    house.settle()
    assert house.value("steno_audio_seconds_total") == pytest.approx(1.0)
    assert house.value("steno_final_wait_seconds_sum") == pytest.approx(0.25)
    assert house.value("steno_final_wait_seconds_count") == 1
    assert house.value("steno_streams") in (0, 1)
    assert house.value("steno_batch_streams_sum") == 1


# The real thread


@dataclass
class Box:
    """Results of a session, with a way to wait for the n-th."""

    results: list[Result] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def put(self, result: Result) -> None:
        with self.arrived:
            self.results.append(result)
            self.arrived.notify_all()

    def wait(self, count: int) -> list[Result]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.results) >= count, timeout=20)
            return list(self.results)


def start(recognizer: FakeRecognizer, *, warm_up: bool = True) -> "Engine[FakeStream]":
    engine = Engine(recognizer, EngineOptions(warm_up=warm_up), Metrics())
    engine.start()
    return engine


def test_the_thread_warms_up_then_serves_then_stops() -> None:
    recognizer = FakeRecognizer()
    engine = start(recognizer)
    assert engine.wait_ready(20)
    assert recognizer.steps == [[0], [0]]
    assert recognizer.open_streams == {}
    box = Box()
    door = engine.connect(box.put)
    door.submit([OpenStream(0, None, (), "", False), FeedAudio(0, tone(0.1, 0.1)), Finish(0)])
    (result,) = box.wait(1)
    assert isinstance(result, HypothesisReady)
    assert result.hypothesis.text == "w100"
    engine.stop()
    assert not engine.ready
    with pytest.raises(EngineStopped):
        door.submit([Finish(0)])


def test_submitting_never_waits_for_a_step() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def block(streams: Sequence[FakeStream]) -> None:
        inside.set()
        assert go_on.wait(20)

    recognizer = FakeRecognizer(before_step=block)
    engine = start(recognizer, warm_up=False)
    box = Box()
    door = engine.connect(box.put)
    door.submit([OpenStream(0, None, (), "", False), FeedAudio(0, tone(0.1, 0.1)), Update(0, 500)])
    assert inside.wait(20)
    for _ in range(100):
        door.submit([FeedAudio(0, tone(0.1, 0.1))])  # returns although the model is busy
    assert engine.busy_s() > 0
    door.submit([Finish(0)])
    go_on.set()
    results = box.wait(2)
    assert isinstance(results[1], HypothesisReady)
    assert results[1].hypothesis.text.count("w100") == 101
    engine.stop()


def test_a_model_that_cannot_warm_up_leaves_the_engine_unready() -> None:
    def fail(streams: Sequence[FakeStream]) -> None:
        raise RuntimeError("no kernel image is available")

    engine = start(FakeRecognizer(before_step=fail))
    assert not engine.wait_ready(20)
    engine.stop()


def test_a_fault_of_the_engine_itself_tells_every_open_stream() -> None:
    """The thread's root: a result that nobody expected (here: from `deliver`) is our own bug."""
    box = Box()
    engine = start(FakeRecognizer(), warm_up=False)
    other = engine.connect(box.put)
    other.submit([OpenStream(3, None, (), "", False), FeedAudio(3, tone(0.1, 0.1))])

    def explode(result: Result) -> None:
        raise KeyError("bug")

    broken = engine.connect(explode)
    broken.submit([OpenStream(0, None, (), "", False), FeedAudio(0, tone(0.1, 0.1)), Finish(0)])
    assert box.wait(1) == [StreamFailed(3, "the recognition engine stopped")]
    with pytest.raises(EngineStopped):
        other.submit([Finish(3)])
    engine.stop()


def test_stop_tells_open_streams() -> None:
    box = Box()
    engine = start(FakeRecognizer(), warm_up=False)
    door = engine.connect(box.put)
    door.submit([OpenStream(0, None, (), "", False), FeedAudio(0, tone(0.1, 0.1)), Update(0, 500)])
    box.wait(1)
    engine.stop()
    assert box.results[1:] == [StreamFailed(0, "the recognition engine stopped")]
