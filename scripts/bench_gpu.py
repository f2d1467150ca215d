"""One accelerator in one command: parts against its ceilings, whole clips, live streams, memory, checks.

    python -m scripts.bench_gpu --json build/gpu.json            # an H100: under 9 minutes
    python -m scripts.bench_gpu --device cpu --tiny              # the same code on a small model, to see that it runs

Weights are random and of true size, made on the device; the text is scripted at 4 tokens a second (see `gpu_model`), so
costs are those of real speech and accuracy is not measured. Each part has a time of its own; what it found is written
before the next one begins, and a part that fails leaves the others alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from scripts.gpu_checks import check, memory_apart, memory_of
from scripts.gpu_live import INTERVALS_S, live
from scripts.gpu_micro import micro
from scripts.gpu_model import Maker
from scripts.gpu_offline import beside, offline
from scripts.gpu_parts import Budget, Report, Row
from steno.models.device import choose_device, parse_bytes
from steno.models.recognizer import Recognizer

WHOLE_S = 510.0  # the start of the process and the making of weights come on top
SECONDS = {
    "checks": 50,
    "micro 0.6b": 40,
    "offline 0.6b": 70,
    "live 0.6b": 120,
    "transformers 0.6b": 40,
    "offline 1.7b": 50,
    "live 1.7b": 40,
    "memory 0.6b": 45,
    "memory 1.7b": 45,
}
CAP = "8GiB"

LOAD_S = 30.0

Use = Callable[[Maker, Recognizer, Budget], Iterator[Row]]


def about(device: str) -> Row:
    """What was measured on."""
    found: Row = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        found |= {"name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        found["cuda"] = torch.version.cuda
    else:
        found["name"] = platform.processor() or platform.machine()
    return found


def with_model(maker: Maker, report: Report, size: str, uses: dict[str, Use]) -> None:
    """Parts that share one recognizer of `size`, which is gone afterwards."""
    made: list[Recognizer] = []

    def load(budget: Budget) -> Iterator[Row]:
        model = maker.recognizer(size, "scripted")
        model.warm_up()
        made.append(model)
        yield {
            "seconds": budget.seconds - budget.left_s,
            "slots": model.slots,
            "cache_gib": model.cache_bytes / 2**30,
            "mode": model.numeric_mode,
        }

    _reset_peak(maker.device)
    report.part(f"load {size}", LOAD_S, load)
    for name, use in uses.items() if made else ():
        _reset_peak(maker.device)
        report.part(name, SECONDS[name], partial(use, maker, made[0]))
        report.part(f"peak memory, {name}", 1.0, lambda budget: iter([_peak(maker.device)]))


def _reset_peak(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> Row:
    """GiB of tensors at the most since the last reset; nothing is known of a CPU."""
    if not device.startswith("cuda"):
        return {}
    return {
        "tensors_gib": torch.cuda.max_memory_allocated() / 2**30,
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30,
    }


def run(maker: Maker, report: Report) -> None:
    """All parts, those that the targets name first."""
    report.part("checks", SECONDS["checks"], partial(check, maker))
    intervals_s = (0.2,) if maker.tiny else INTERVALS_S
    small: dict[str, Use] = {"micro 0.6b": micro, "offline 0.6b": offline, "live 0.6b": partial(live, intervals_s)}
    large: dict[str, Use] = {"offline 1.7b": offline, "live 1.7b": partial(live, intervals_s[:1])}
    with_model(maker, report, "0.6b", small)
    _reset_peak(maker.device)
    report.part("transformers 0.6b", SECONDS["transformers 0.6b"], partial(beside, maker, "0.6b"))
    if not maker.tiny:
        with_model(maker, report, "1.7b", large)
    _reset_peak(maker.device)
    for size in ("0.6b", "1.7b") if maker.device.startswith("cuda") else ():
        report.part(f"memory {size}", SECONDS[f"memory {size}"], partial(memory_apart, size))


def show(report: Report, console: Console) -> None:
    """A table for each part, in which a row leaves empty what it does not tell."""
    console.print(report.about)
    for name, rows in report.parts.items():
        table = Table(title=name)
        columns = list(dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, list)))
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*(_shown(row.get(column, "")) for column in columns))
        if columns:
            console.print(table)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure one accelerator.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument(
        "--tiny", action="store_true", help="a small model and short clips: to see that everything runs"
    )
    parser.add_argument("--seconds", type=float, default=WHOLE_S, help="for all parts together")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", metavar="SIZE", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    try:
        maker = Maker(choose_device(arguments.device), arguments.dtype, arguments.tiny)
    except ValueError as error:
        sys.exit(f"bench_gpu: {error}")
    if arguments.memory_of:
        print(json.dumps(memory_of(maker, arguments.memory_of, parse_bytes(CAP))))
        return
    report = Report(arguments.json, about(maker.device), Budget(arguments.seconds))
    run(maker, report)
    show(report, Console(width=160))


if __name__ == "__main__":
    main()
