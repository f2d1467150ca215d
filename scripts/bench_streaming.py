"""Cost of an update against the length of the utterance and of the session, beside two ways of doing without.

    python -m scripts.bench_streaming --random 0.6b [--dtype int8] [--interval 2] [--seconds 60] [--session 600]

All three run in this process, on the same weights and kernels, each update of one next to that of the others:
`draft`: ours. `no draft`: the same without offering the previous hypothesis for checking. `official`: the policy of the
official package, which encodes and prefills everything heard again at each update and decodes behind the previous text
without its last 5 tokens. Text is scripted, see `scripted_speech`. With --session, utterances of --seconds follow each
other through one recognizer, and each one's cost is told.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from scripts.bench_offline import REPOSITORY, make_random
from scripts.cpu_engines import ROLLBACK
from scripts.scripted_speech import Script, script_for, speech, update_times
from steno.models.recognizer import Recognizer, StreamState

SAMPLED_S = (4, 10, 16, 20, 30, 46, 60)  # rows of the table


@dataclass(frozen=True, slots=True)
class Update:
    """One update: seconds of wall and processor time, and tokens computed by the encoder and the decoder."""

    heard_s: float
    wall_s: float
    cpu_s: float
    encoder_tokens: int
    decoder_tokens: int


def measure(recognizer: Recognizer, script: Script, stream: StreamState, heard_s: float, *, final: bool) -> Update:
    """Feed `stream` up to `heard_s` and step it."""
    samples = speech(heard_s)[stream.samples_fed :]
    script.direct(stream, heard_s, final=final)
    before = _computed(stream)
    wall, cpu = time.perf_counter(), time.process_time()
    recognizer.feed(stream, samples, final=final)
    recognizer.step([stream])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    encoder, decoder = (now - then for now, then in zip(_computed(stream), before, strict=True))
    return Update(heard_s, wall, cpu, encoder, decoder)


def _computed(stream: StreamState) -> tuple[int, int]:
    encoder, decoder = stream.encoder_counters, stream.counters
    return encoder.closed_tokens + encoder.open_tokens, decoder.prefilled + decoder.offered + decoder.decoded


def incremental(recognizer: Recognizer, script: Script, heard: list[float], *, draft: bool) -> Iterator[Update]:
    """One stream over the whole utterance."""
    stream = recognizer.open()
    for until in heard:
        if not draft:
            stream.tokens, stream.logprobs = [], []
        yield measure(recognizer, script, stream, until, final=until == heard[-1])
    recognizer.close(stream)


def official(recognizer: Recognizer, script: Script, heard: list[float]) -> Iterator[Update]:
    """A new stream for each update, behind the text that the policy keeps."""
    previous: list[int] = []
    for until in heard:
        kept = previous[:-ROLLBACK]
        stream = recognizer.open()
        stream.tokens, stream.logprobs = list(kept), [0.0] * len(kept)
        recognizer.pin(stream, len(kept))
        yield measure(recognizer, script, stream, until, final=True)
        recognizer.close(stream)
        previous = script.said(until)


WAYS: dict[str, Callable[[Recognizer, Script, list[float]], Iterator[Update]]] = {
    "draft": lambda recognizer, script, heard: incremental(recognizer, script, heard, draft=True),
    "no draft": lambda recognizer, script, heard: incremental(recognizer, script, heard, draft=False),
    "official": official,
}


def by_length(recognizer: Recognizer, heard: list[float], runs: int) -> dict[str, list[Update]]:
    """Updates of each way, medians of the runs."""
    script = script_for(recognizer)
    collected: dict[str, list[list[Update]]] = {way: [] for way in WAYS}
    for run in range(runs):
        going = {way: start(recognizer, script, heard) for way, start in WAYS.items()}
        for way in WAYS:
            collected[way].append([])
        for until in heard:
            for way, updates in going.items():
                collected[way][run].append(next(updates))
            print(f"run {run + 1}: {until:g} s", file=sys.stderr)
        for updates in going.values():
            next(updates, None)  # closes its stream
    return {way: [_median(list(same)) for same in zip(*collected[way], strict=True)] for way in WAYS}


def _median(same: list[Update]) -> Update:
    first = same[0]
    wall, cpu = median(each.wall_s for each in same), median(each.cpu_s for each in same)
    return Update(first.heard_s, wall, cpu, first.encoder_tokens, first.decoder_tokens)


def by_session(recognizer: Recognizer, heard: list[float], session_s: float) -> list[dict[str, float]]:
    """Cost of each utterance of a session, and what the recognizer holds after it."""
    script = script_for(recognizer)
    rows = []
    for number in range(round(session_s / heard[-1])):
        updates = list(incremental(recognizer, script, heard, draft=True))
        rows.append(
            {
                "from_s": number * heard[-1],
                "rtf": sum(each.wall_s for each in updates) / heard[-1],
                "cpu_rtf": sum(each.cpu_s for each in updates) / heard[-1],
                "worst_step_s": max(each.wall_s for each in updates),
                "decoder_tokens": sum(each.decoder_tokens for each in updates),
                "cache_mb": recognizer.cache_bytes / 1e6,
            }
        )
        print(f"session: {rows[-1]}", file=sys.stderr)
    return rows


def show(updates: dict[str, list[Update]], interval_s: float) -> None:
    table = Table(title=f"seconds per update of {interval_s:g} s (tokens computed: encoder + decoder)")
    table.add_column("heard s")
    for way in updates:
        table.add_column(way)
    heard = [each.heard_s for each in updates["draft"]]
    for index in [i for i, s in enumerate(heard) if int(s) in SAMPLED_S]:
        cells = (way[index] for way in updates.values())
        table.add_row(
            f"{heard[index]:g}", *(f"{u.wall_s:.3f} ({u.encoder_tokens} + {u.decoder_tokens})" for u in cells)
        )
    totals = (sum(each.wall_s for each in way) / heard[-1] for way in updates.values())
    table.add_row("RTF", *(f"{total:.3f}" for total in totals))
    Console(width=120).print(table)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time updates against the length of utterance and session.")
    parser.add_argument("--random", choices=("0.6b", "1.7b"), help="make a random checkpoint of this size")
    parser.add_argument("--model", help="or this checkpoint")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "random", help="where --random puts it")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--window", type=int, help="encoder window in seconds, 1 to 8")
    parser.add_argument("--context-limit", type=int, metavar="S", help="of the audio that the decoder is given")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between updates")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the utterance")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--session", type=float, default=0.0, metavar="S", help="length of a session, 0: none")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if not arguments.random and not arguments.model:
        sys.exit("bench_streaming: expected --random SIZE or --model FOLDER")
    torch.set_num_threads(arguments.threads)
    source = make_random(arguments.random, arguments.folder)["official"] if arguments.random else arguments.model
    recognizer = Recognizer.load(
        source,
        device=arguments.device,
        dtype=arguments.dtype,
        window_s=arguments.window,
        context_limit_s=arguments.context_limit,
        progress=False,
    )
    heard = update_times(arguments.seconds, arguments.interval)
    updates = by_length(recognizer, heard, arguments.runs)
    show(updates, arguments.interval)
    session = by_session(recognizer, heard, arguments.session) if arguments.session else []
    if arguments.json:
        about = {"mode": recognizer.numeric_mode, "interval_s": arguments.interval, "threads": arguments.threads}
        found = {way: [asdict(each) for each in made] for way, made in updates.items()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({**about, "updates": found, "session": session}, indent=1))


if __name__ == "__main__":
    main()
