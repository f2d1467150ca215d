"""The pace follows the busy share of the thread, one rung at a time, and comes back."""

import pytest

from steno.streaming.pace import FACTORS, Pace, PaceRule


def run(pace: Pace, begin: float, seconds: float, busy: float) -> list[float]:
    """Steps at 10 Hz, each busy for `busy` of its 100 ms; the factor after each."""
    factors = []
    for tick in range(round(seconds * 10)):
        start = begin + tick * 0.1
        pace.ran(start, start + 0.1 * busy, 1)
        factors.append(pace.factor(start + 0.1))
    return factors


def test_light_load_keeps_the_interval() -> None:
    assert set(run(Pace(), 0.0, 20.0, busy=0.6)) == {1.0}


def test_saturation_climbs_one_rung_per_window() -> None:
    factors = run(Pace(PaceRule(window_s=2.0)), 0.0, 5.0, busy=1.0)
    assert factors[0] == 1.0
    assert factors[25] == FACTORS[1]
    assert factors[-1] == FACTORS[2]


def test_the_table_has_a_top() -> None:
    assert run(Pace(), 0.0, 60.0, busy=1.0)[-1] == FACTORS[-1]


def test_it_narrows_when_the_rung_below_would_hold() -> None:
    pace = Pace()
    run(pace, 0.0, 5.0, busy=1.0)
    assert run(pace, 5.0, 30.0, busy=0.3)[-1] == 1.0


def test_it_does_not_swing_between_two_rungs() -> None:
    """At factor 2 the thread is 60 % busy; the rung below (1.5) would make that 80 %: stay."""
    pace = Pace()
    run(pace, 0.0, 5.0, busy=1.0)
    assert set(run(pace, 5.0, 30.0, busy=0.6)) == {2.0}


def test_an_idle_engine_starts_afresh() -> None:
    pace = Pace()
    run(pace, 0.0, 10.0, busy=1.0)
    assert pace.factor(60.0) == 1.0


def test_busy_share_counts_only_the_window() -> None:
    pace = Pace(PaceRule(window_s=2.0))
    pace.ran(0.0, 5.0, 1)
    assert pace.busy_share(5.0) == pytest.approx(1.0)
    assert pace.busy_share(6.0) == pytest.approx(0.5)
    assert pace.busy_share(9.0) == 0.0


def test_as_many_updates_share_a_step_as_fit_its_budget() -> None:
    pace = Pace(PaceRule(step_s=0.25))
    assert pace.room == 4, "before anything was measured"
    for _ in range(20):
        pace.ran(0.0, 0.4, 4)
    assert pace.room == 2
    for _ in range(20):
        pace.ran(0.0, 3.0, 2)
    assert pace.room == 1, "one always goes"
    for _ in range(40):
        pace.ran(0.0, 0.03, pace.room)
    assert pace.room > 100, "where a batch is nearly free it grows"


def test_finals_say_nothing_of_what_an_update_costs() -> None:
    pace = Pace()
    pace.ran(0.0, 9.0, 0)
    assert pace.room == 4


def test_bulk_work_has_a_budget_of_its_own() -> None:
    pace = Pace(PaceRule(step_s=0.25))
    assert pace.bulk_room == 1, "before anything was measured"
    pace.ran_bulk(0.0, 0.1, 1)
    assert pace.bulk_room == 2
    for _ in range(20):
        pace.ran_bulk(0.0, 0.1, 8)
    assert pace.bulk_room > 15
    assert pace.room == 4
    assert pace.busy_share(0.1) == 0.0


def test_it_is_overloaded_only_while_the_widest_spacing_does_not_help() -> None:
    pace = Pace(PaceRule(window_s=2.0))
    run(pace, 0.0, 10.0, busy=1.0)
    assert not pace.overloaded(10.0)
    run(pace, 10.0, 60.0, busy=1.0)
    assert pace.overloaded(70.0)
    assert not pace.overloaded(72.5), "nothing has run for a while"
