"""The scheduler's rules, and what they guarantee under load, in virtual time."""

import pytest

from steno.streaming.scheduler import Scheduler


def make(*keys: str, max_batch: int = 8, bulk: tuple[str, ...] = ()) -> Scheduler[str]:
    scheduler: Scheduler[str] = Scheduler(max_batch=max_batch, bulk_patience_s=5.0)
    for key in keys:
        scheduler.add(key, bulk=key in bulk)
    return scheduler


def test_nothing_asked_nothing_due() -> None:
    scheduler = make("a")
    assert scheduler.next_batch(0.0) == []
    assert scheduler.next_due() is None


def test_the_first_update_runs_at_once() -> None:
    scheduler = make("a")
    scheduler.ask_update("a", 1.0, 0.5)
    assert scheduler.next_due() == 1.0
    assert scheduler.next_batch(1.0) == ["a"]
    assert not scheduler.pending("a")


def test_asking_again_is_owed_once() -> None:
    scheduler = make("a")
    for now in (1.0, 1.1, 1.2):
        scheduler.ask_update("a", now, 0.5)
    assert scheduler.next_batch(1.2) == ["a"]
    assert scheduler.next_batch(99.0) == []


def test_the_next_update_waits_for_half_the_interval() -> None:
    """The session sets the rhythm; an extra update at a pause of speech is fine, ten times as many are not."""
    scheduler = make("a")
    scheduler.ask_update("a", 1.0, 0.5)
    scheduler.next_batch(1.0)
    scheduler.ask_update("a", 1.1, 0.5)
    assert scheduler.next_batch(1.2) == []
    assert scheduler.next_due() == 1.25
    assert scheduler.next_batch(1.25) == ["a"]


def test_a_stretched_interval_moves_the_due_instant_up_to_the_bound() -> None:
    scheduler: Scheduler[str] = Scheduler(max_batch=8, max_interval_s=0.8)
    scheduler.add("a")
    scheduler.ask_update("a", 0.0, 0.5)
    scheduler.next_batch(0.0)
    scheduler.ask_update("a", 0.0, 0.5)
    scheduler.factor = 1.5
    assert scheduler.next_due() == 0.75
    scheduler.factor = 8.0
    assert scheduler.next_due() == 0.8
    assert scheduler.stretched(2.0) == 2.0, "an interval above the bound was the client's own wish"


def test_a_final_replaces_the_pending_update_and_needs_no_interval() -> None:
    scheduler = make("a")
    scheduler.ask_update("a", 0.0, 0.5)
    scheduler.next_batch(0.0)
    scheduler.ask_update("a", 0.1, 0.5)
    scheduler.ask_final("a", 0.2)
    assert scheduler.next_batch(0.2) == ["a"]
    assert scheduler.next_due() is None


def test_an_update_after_the_final_is_ignored() -> None:
    scheduler = make("a")
    scheduler.ask_final("a", 0.0)
    scheduler.ask_update("a", 0.1, 0.5)
    assert scheduler.next_batch(0.1) == ["a"]
    assert scheduler.next_batch(9.0) == []


def test_finals_go_before_partials_that_were_asked_earlier() -> None:
    scheduler = make("a", "b", "c")
    scheduler.ask_update("a", 0.0, 0.5)
    scheduler.ask_final("b", 0.2)
    scheduler.ask_final("c", 0.1)
    assert scheduler.next_batch(0.3) == ["c", "b"]
    assert scheduler.next_batch(0.3) == ["a"]


def test_partials_go_by_deadline_not_by_order_of_asking() -> None:
    scheduler = make("slow", "fast")
    scheduler.ask_update("slow", 0.0, 2.0)
    scheduler.ask_update("fast", 0.1, 0.2)
    assert scheduler.next_batch(0.2) == ["fast", "slow"]


def test_overdue_partials_ride_along_with_finals() -> None:
    scheduler = make("late", "fresh", "f", max_batch=3)
    scheduler.ask_update("late", 0.0, 0.5)
    scheduler.ask_update("fresh", 1.0, 0.5)
    scheduler.ask_final("f", 1.0)
    assert scheduler.next_batch(1.0) == ["f", "late"]


def test_the_batch_is_bounded_and_the_rest_comes_next() -> None:
    scheduler = make(*"abcde", max_batch=2)
    for instant, key in enumerate("abcde"):
        scheduler.ask_update(key, float(instant), 1.0)
    batches = [scheduler.next_batch(9.0) for _ in range(4)]
    assert batches == [["a", "b"], ["c", "d"], ["e"], []]


def test_updates_may_be_bounded_more_tightly_than_finals() -> None:
    scheduler = make(*"abcdef")
    for key in "abc":
        scheduler.ask_update(key, 0.0, 0.5)
    for key in "def":
        scheduler.ask_final(key, 9.0)
    assert scheduler.next_batch(9.0, max_updates=1) == ["d", "e", "f", "a"]
    assert scheduler.next_batch(9.0, max_updates=1) == ["b"]


def test_bulk_waits_for_live_work() -> None:
    scheduler = make("file", "live", bulk=("file",))
    scheduler.ask_final("file", 0.0)
    scheduler.ask_update("live", 0.0, 0.5)
    assert scheduler.next_batch(0.0) == ["live"]
    assert scheduler.next_batch(0.0) == ["file"]


def test_bulk_updates_wait_too_and_need_no_spacing() -> None:
    scheduler = make("file", "live", bulk=("file",))
    for now in (0.0, 0.1):
        scheduler.ask_update("file", now, 8.0)
        scheduler.ask_update("live", now, 0.1)
        assert scheduler.next_batch(now) == ["live"]
        assert scheduler.next_batch(now) == ["file"]


def test_bulk_out_of_patience_takes_every_other_turn_only() -> None:
    scheduler = make("f1", "f2", "live", bulk=("f1", "f2"))
    scheduler.ask_final("f1", 0.0)
    scheduler.ask_final("f2", 0.0)
    taken = []
    for turn in range(4):
        now = 6.0 + turn
        scheduler.ask_update("live", now, 0.5)
        taken.append(scheduler.next_batch(now))
    assert taken == [["f1"], ["live"], ["f2"], ["live"]]


def test_no_stream_starves_when_every_step_has_a_final() -> None:
    """Twelve talkers, one step per 100 ms with room for four, a new final in each step."""
    scheduler: Scheduler[str] = Scheduler(max_batch=4)
    partials = [f"p{index}" for index in range(12)]
    for key in partials:
        scheduler.add(key)
    last = dict.fromkeys(partials, 0.0)
    worst = 0.0
    for turn in range(400):
        now = turn * 0.1
        scheduler.add(f"f{turn}")
        scheduler.ask_final(f"f{turn}", now)
        for key in partials:
            scheduler.ask_update(key, now, 0.5)
        batch = scheduler.next_batch(now)
        assert batch[0] == f"f{turn}"
        for key in batch[1:]:
            worst = max(worst, now - last[key])
            last[key] = now
        scheduler.remove(f"f{turn}")
    assert worst <= 1.5  # deadline 1.0 s after the last step, and twelve need four steps
    assert min(last.values()) > 38.0


def test_removed_streams_are_owed_nothing() -> None:
    scheduler = make("a", "b")
    scheduler.ask_update("a", 0.0, 0.5)
    scheduler.remove("a")
    scheduler.remove("a")
    assert scheduler.next_batch(9.0) == []
    assert len(scheduler) == 1
    assert "a" not in scheduler


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="max_batch is 0"):
        Scheduler(max_batch=0)
    scheduler = make("a")
    with pytest.raises(ValueError, match="already scheduled"):
        scheduler.add("a")


def test_bulk_work_shares_a_turn_where_it_may() -> None:
    scheduler = make("f1", "f2", "f3", "live", bulk=("f1", "f2", "f3"))
    for instant, key in enumerate(("f2", "f1", "f3")):
        scheduler.ask_final(key, instant)
    assert scheduler.next_batch(3.0, max_bulk=2) == ["f2", "f1"]
    scheduler.ask_update("live", 3.0, 0.5)
    assert scheduler.next_batch(3.0, max_bulk=2) == ["live"], "live before offline"
    assert scheduler.next_batch(3.1, max_bulk=2) == ["f3"]
