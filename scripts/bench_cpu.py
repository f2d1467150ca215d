"""The 0.6B live on a CPU: what offline and streaming cost in each numeric mode, beside `transformers`.

    python -m scripts.bench_cpu [--quick] [--runs 3] [--engines int8 int8:2:16 transformers] [--json build/cpu.json]

An engine is a numeric mode of ours, as it is or with a window and a context limit in seconds (`int8:2`, `int8:2:16`).

Weights are random, text is scripted at 4 tokens a second and forced after the full computation: costs are those of real
decoding, accuracy is not measured. Each engine lives in a process of its own; the tasks are interleaved over the
engines, so that all see the same disturbances, and medians over the runs are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from scripts.bench_offline import REPOSITORY, make_random, read_once
from scripts.cpu_engines import Engine, Steno, Step, Transformers, file_memory_mb, peak_memory_mb

MODES = ("int8", "bfloat16", "float32", "transformers")
POLICY_POINTS = (2.0, 10.0, 20.0, 30.0)  # of the official policy's updates; each is independent of the others


@dataclass(frozen=True, slots=True)
class Task:
    """`interval_s` None: offline. `at`: of an utterance's updates only those at these seconds."""

    name: str
    seconds: float
    interval_s: float | None = None
    at: tuple[float, ...] | None = None

    def run(self, engine: Engine) -> list[Step]:
        if self.interval_s is None:
            return [engine.offline(self.seconds)]
        return engine.stream(self.seconds, self.interval_s, self.at)


@dataclass(slots=True)
class Result:
    """Steps of every run of one task on one engine."""

    task: Task
    runs: list[list[Step]] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        """Medians over the runs. `rtf`: compute per second of audio; of sampled updates the mean."""
        parts = {part for run in self.runs for step in run for part in step.parts}
        return {
            "runs": len(self.runs),
            "rtf": round(median(self._rtf([step.wall_s for step in run]) for run in self.runs), 3),
            "cpu_rtf": round(median(self._rtf([step.cpu_s for step in run]) for run in self.runs), 3),
            "worst_step_s": round(median(max(step.wall_s for step in run) for run in self.runs), 3),
            "last_step_s": round(median(run[-1].wall_s for run in self.runs), 3),
            "parts_s": {
                part: round(median(sum(step.parts.get(part, 0.0) for step in run) for run in self.runs), 3)
                for part in sorted(parts)
            },
            "steps_s": [round(median(run[i].wall_s for run in self.runs), 3) for i in range(len(self.runs[0]))],
        }

    def _rtf(self, costs: Sequence[float]) -> float:
        if self.task.interval_s is None or self.task.at is None:
            return sum(costs) / self.task.seconds
        points = [0.0, *self.task.at]
        spans = [later - earlier for earlier, later in zip(points, points[1:], strict=False)]
        means = [(a + b) / 2 for a, b in zip([costs[0], *costs], costs, strict=False)]
        return sum(s * m for s, m in zip(spans, means, strict=True)) / sum(spans) / self.task.interval_s


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MB: the largest so far, and the pages of files in it now, which the system may take back."""

    peak_mb: int
    file_mb: int


class Worker:
    """An engine in its own process, driven by lines of JSON."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        command = [sys.executable, "-m", "scripts.bench_cpu", "--worker", name, "--threads", str(arguments.threads)]
        command += ["--folder", str(arguments.folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.loaded = self._memory()

    def run(self, task: Task) -> list[Step]:
        answer = self._ask(asdict(task))
        return [Step(**step) for step in answer["steps"]]

    def close(self) -> Memory:
        """End the process."""
        memory = self._memory()
        self._process.communicate()
        return memory

    def _memory(self) -> Memory:
        return Memory(**self._ask(None))

    def _ask(self, task: dict[str, object] | None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"bench_cpu: the worker ended with status {self._process.wait()}")
        answer: dict[str, object] = json.loads(line)
        return answer


def work(name: str, arguments: argparse.Namespace) -> None:
    """The other side of Worker: one task per line; null asks for the peak of memory."""
    layouts = make_random("0.6b", arguments.folder)
    engine: Engine
    if name == "transformers":
        engine = Transformers(layouts["native"], "bfloat16")
    else:
        mode, *seconds = name.split(":")
        engine = Steno(layouts["official"], mode, *(int(each) for each in seconds))
    engine.offline(5.0)  # kernels are chosen and memory is taken at first use
    for line in sys.stdin:
        values = json.loads(line)
        answer: dict[str, object] = {"peak_mb": peak_memory_mb(), "file_mb": file_memory_mb()}
        if values is not None:
            answer = {"steps": [asdict(step) for step in Task(**values).run(engine)]}
        print(json.dumps(answer), flush=True)


def tasks(quick: bool, session_s: float) -> dict[str, list[Task]]:
    """By engine kind: `steno` and `transformers`."""
    lengths = (10.0, 30.0) if quick else (10.0, 30.0, 60.0)
    offline = [Task(f"offline {seconds:.0f} s", seconds) for seconds in lengths]
    ours = [Task(f"stream 30 s, every {interval:.0f} s", 30.0, interval) for interval in (2.0, 1.0)]
    if not quick:
        ours += [Task(f"stream 60 s, every {interval:.0f} s", 60.0, interval) for interval in (2.0, 1.0)]
    theirs = [Task("stream 30 s, every 2 s", 30.0, 2.0, (2.0, 30.0) if quick else POLICY_POINTS)]
    if session_s:
        ours += [Task(f"session, 30 s from {minute} min on", 30.0, 2.0) for minute in _minutes(session_s)]
    return {"steno": offline + ours, "transformers": offline[:2] + theirs}


def _minutes(session_s: float) -> list[str]:
    return [f"{second / 60:.1f}" for second in range(0, int(session_s), 30)]


def show(results: dict[str, dict[str, Result]], memory: dict[str, tuple[Memory, Memory]]) -> None:
    table = Table(title="0.6B on a CPU: seconds of compute per second of audio, medians")
    for heading in ("task", "engine", "RTF", "CPU RTF", "worst step s", "last step s", "parts s"):
        table.add_column(heading)
    for name, by_engine in results.items():
        for engine, result in by_engine.items():
            figures = result.figures()
            parts = figures["parts_s"]
            assert isinstance(parts, dict)
            shown = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
            values = (figures[key] for key in ("rtf", "cpu_rtf", "worst_step_s", "last_step_s"))
            table.add_row(name, engine, *(f"{value:.3f}" for value in values), shown)
    console = Console(width=160)
    console.print(table)
    for engine, (loaded, last) in memory.items():
        console.print(
            f"{engine}: peak memory {loaded.peak_mb} MB loaded, {last.peak_mb} MB after all tasks; "
            f"of it pages of files {loaded.file_mb} and {last.file_mb} MB"
        )


def engine_name(text: str) -> str:
    """ArgumentTypeError for a name that is none."""
    mode, *seconds = text.split(":")
    settings = len(seconds) <= 2 and all(each.isdecimal() for each in seconds)
    if mode not in MODES or not settings or (mode == "transformers" and seconds):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {', '.join(MODES)}, or one of ours with :WINDOW[:LIMIT]")
    return text


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the 0.6B on this CPU.")
    parser.add_argument("--engines", nargs="+", type=engine_name, default=["int8", "bfloat16", "transformers"])
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "random", help="for random checkpoints")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="no 60 s tasks, two points of the official policy")
    parser.add_argument("--only", help="tasks whose name has this in it")
    parser.add_argument("--session", type=float, default=0.0, metavar="S", help="a session of utterances of 30 s")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=engine_name, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        work(arguments.worker, arguments)
        return
    for folder in make_random("0.6b", arguments.folder).values():
        read_once(folder)
    workers = {name: Worker(name, arguments) for name in arguments.engines}
    todo = tasks(arguments.quick, arguments.session)
    results: dict[str, dict[str, Result]] = {}
    for run in range(arguments.runs):
        for task in todo["steno"] + [task for task in todo["transformers"] if task not in todo["steno"]]:
            if arguments.only and arguments.only not in task.name or run and task.name.startswith("session"):
                continue
            for name, worker in workers.items():
                if task in todo.get(name, todo["steno"]):
                    result = results.setdefault(task.name, {}).setdefault(name, Result(task))
                    result.runs.append(worker.run(task))
                    rtf = Result(task, result.runs[-1:]).figures()["rtf"]
                    print(f"run {run + 1}: {task.name}, {name}: {rtf}", file=sys.stderr)
        if run + 1 < arguments.runs:
            show(results, {})
    memory = {name: (worker.loaded, worker.close()) for name, worker in workers.items()}
    show(results, memory)
    if arguments.json:
        figures = {name: {engine: each.figures() for engine, each in by.items()} for name, by in results.items()}
        about = {"threads": arguments.threads, "torch": torch.__version__}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        told = {name: [asdict(each) for each in pair] for name, pair in memory.items()}
        arguments.json.write_text(json.dumps({**about, "memory_loaded_and_last": told, "tasks": figures}, indent=1))


if __name__ == "__main__":
    main()
