"""The CPU bench: what its engines are called, what a run gives, and what memory it counts."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from scripts.bench_cpu import Result, Task, engine_name, tasks
from scripts.cpu_engines import Steno, Step, file_memory_mb, peak_memory_mb
from tests.tiny import tiny_checkpoint


@pytest.mark.parametrize("name", ["int8", "bfloat16:2", "float32:8:16", "transformers"])
def test_engines_are_modes_with_window_and_limit(name: str) -> None:
    assert engine_name(name) == name


@pytest.mark.parametrize("name", ["int4", "int8:x", "int8:2:16:1", "transformers:2", "int8:"])
def test_other_engines_are_refused(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected int8, bfloat16, float32, transformers"):
        engine_name(name)


def test_steps_tell_their_parts_and_the_limit_holds(tmp_path: Path) -> None:
    engine = Steno(tiny_checkpoint(tmp_path), "float32", 2, 8)
    steps = Task("stream", 20.0, 2.0).run(engine)
    assert [round(step.heard_s) for step in steps] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    for step in steps:
        assert {"stem", "encoder layers", "prefill", "head", "rest"} <= set(step.parts)
        assert sum(step.parts.values()) == pytest.approx(step.wall_s)
    (offline,) = Task("offline", 3.0).run(engine)
    assert offline.heard_s == 3.0


def test_figures_are_medians_per_second_of_audio() -> None:
    runs = [[Step(2.0, cost, 0.0), Step(4.0, 3 * cost, 0.0)] for cost in (1.0, 5.0, 2.0)]
    figures = Result(Task("stream", 4.0, 2.0), runs).figures()
    assert (figures["rtf"], figures["worst_step_s"], figures["last_step_s"]) == (2.0, 6.0, 6.0)
    sampled = Result(Task("stream", 4.0, 2.0, (2.0, 4.0)), runs).figures()
    assert sampled["rtf"] == pytest.approx((2 * 2.0 + 2 * 4.0) / 4 / 2)  # means of the spans, per interval


def test_a_session_is_tasks_of_half_a_minute() -> None:
    names = [task.name for task in tasks(quick=True, session_s=120)["steno"]]
    assert [name for name in names if name.startswith("session")] == [
        f"session, 30 s from {minute} min on" for minute in ("0.0", "0.5", "1.0", "1.5")
    ]


def test_pages_of_files_are_part_of_the_peak() -> None:
    assert 0 < file_memory_mb() < peak_memory_mb()
