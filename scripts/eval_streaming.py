"""Streaming against offline, on recordings with transcripts: errors, latency in audio time, and work done.

    python scripts/eval_streaming.py models/tiny/samples/samples.jsonl --model tiny \\
        --interval 500 --interval 1000 --window 1 --window 8 --json build/eval_streaming.json

With --join, clips of one language are strung together until each is at least that long: utterances as long as a limit
of the context (--context-limit, repeatable; 0: none) needs. --dtype compares numeric modes.

Each line of the manifest has `file` or `path` (relative to the manifest), `text`, and optionally `language` and
`seconds`. Every clip is fed in steps of the interval; what is measured depends on the samples alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from scripts.train_tiny.word_errors import edit_distance, units
from steno.client.audio import read_audio
from steno.models.config import AttentionMode
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.recognizer import Recognizer
from steno.streaming.config import SessionOptions
from steno.streaming.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and what is said in it."""

    name: str
    samples: Samples
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Setting:
    """How a recognizer is loaded."""

    window_s: int | None
    dtype: str
    context_limit_s: int | None


@dataclass(slots=True)
class Score:
    """Sums over the clips of one setting; `row` gives the figures."""

    interval_ms: int
    window_s: int | None
    attention: str
    dtype: str
    context_limit_s: int | None
    clips: int = 0
    audio_s: float = 0.0
    units: int = 0
    offline_errors: int = 0
    streaming_errors: int = 0
    finals_differing: int = 0
    tokens: int = 0
    tokens_differing: int = 0
    updates: int = 0
    revised_updates: int = 0  # an update that takes back something shown before
    shown_characters: int = 0
    revised_characters: int = 0
    contradictions: int = 0
    first_partial_ms: list[float] = field(default_factory=list)
    first_commit_ms: list[float] = field(default_factory=list)
    offered: int = 0
    accepted: int = 0
    encoder_tokens: int = 0
    dirty_windows: int = 0
    decoder_tokens: int = 0

    def row(self) -> dict[str, float | int | str | None]:
        """The figures of the table: rates as fractions, latencies in milliseconds of audio since the clip began."""
        return {
            "attention": self.attention,
            "dtype": self.dtype,
            "context_limit_s": self.context_limit_s,
            "window_s": self.window_s,
            "interval_ms": self.interval_ms,
            "clips": self.clips,
            "audio_s": round(self.audio_s, 1),
            "wer_offline": _share(self.offline_errors, self.units),
            "wer_streaming": _share(self.streaming_errors, self.units),
            "finals_differing": self.finals_differing,
            "tokens_differing": self.tokens_differing,
            "first_partial_ms_p50": _median(self.first_partial_ms),
            "first_commit_ms_p50": _median(self.first_commit_ms),
            "revised_updates": _share(self.revised_updates, self.updates),
            "revised_characters": _share(self.revised_characters, self.shown_characters),
            "contradicted_finals": self.contradictions,
            "drafts_accepted": _share(self.accepted, self.offered),
            "encoder_tokens_per_s": round(self.encoder_tokens / max(self.audio_s, 1e-9), 1),
            "decoder_tokens_per_s": round(self.decoder_tokens / max(self.audio_s, 1e-9), 1),
            "dirty_windows": self.dirty_windows,
        }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def read_manifest(path: Path, limit: int | None) -> list[Clip]:
    """Clips of a manifest. Raises SystemExit naming the line that lacks a field."""
    clips = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[:limit], start=1):
        entry = json.loads(line)
        name = entry.get("file") or entry.get("path")
        if not name or "text" not in entry:
            raise SystemExit(f"{path}, line {number}: expected the fields file (or path) and text")
        clips.append(Clip(name, read_audio(path.parent / name), entry["text"], entry.get("language", "English")))
    return clips


def joined(clips: Sequence[Clip], seconds: float) -> list[Clip]:
    """Neighbours of one language strung together to at least `seconds` each; a shorter rest is left out."""
    made, parts = [], list[Clip]()
    for clip in clips:
        if parts and parts[0].language != clip.language:
            parts = []
        parts.append(clip)
        if sum(part.samples.size for part in parts) >= seconds * SAMPLE_RATE:
            samples = np.concatenate([part.samples for part in parts])
            made.append(Clip(parts[0].name, samples, " ".join(part.text for part in parts), clip.language))
            parts = []
    return made


def evaluate(
    recognizer: Recognizer, clips: Sequence[Clip], setting: Setting, interval_ms: int, options: SessionOptions
) -> Score:
    """Run every clip offline and in steps of `interval_ms`."""
    attention = recognizer.encoder_config.attention_mode
    score = Score(interval_ms, setting.window_s, attention, recognizer.numeric_mode, setting.context_limit_s)
    for clip in track(clips, f"{interval_ms} ms, {setting}", console=Console(stderr=True)):
        _stream(recognizer, clip, score, options)
    return score


def _stream(recognizer: Recognizer, clip: Clip, score: Score, options: SessionOptions) -> None:
    transcript = Transcript(
        agreement=options.commit_agreement, hold_back=options.commit_hold_back_ms * SAMPLE_RATE // 1000
    )
    stream = recognizer.open()
    step = score.interval_ms * SAMPLE_RATE // 1000
    shown, first_partial, first_commit = "", None, None
    for start in range(0, clip.samples.size, step):
        recognizer.feed(stream, clip.samples[start : start + step])
        (hypothesis,) = recognizer.step([stream])
        if not transcript.receive(hypothesis):
            continue
        now_ms = hypothesis.samples_seen * 1000 / SAMPLE_RATE
        text = transcript.committed + transcript.tentative
        first_partial = first_partial if first_partial is not None or not text else now_ms
        first_commit = first_commit if first_commit is not None or not transcript.committed else now_ms
        kept = len(shown) if text.startswith(shown) else _common(shown, text)
        score.updates += 1
        score.revised_updates += kept < len(shown)
        score.revised_characters += len(shown) - kept
        score.shown_characters += len(text) - kept
        shown = text
    recognizer.feed(stream, clip.samples[:0], final=True)
    (final,) = recognizer.step([stream])
    recognizer.close(stream)
    offline = recognizer.transcribe(clip.samples)
    reference = units(clip.text, clip.language)
    score.clips += 1
    score.audio_s += clip.samples.size / SAMPLE_RATE
    score.units += len(reference)
    score.offline_errors += edit_distance(reference, units(offline.text, clip.language))
    score.streaming_errors += edit_distance(reference, units(final.text, clip.language))
    score.finals_differing += final.token_ids != offline.token_ids
    score.tokens += len(offline.token_ids)
    score.tokens_differing += edit_distance(
        [str(token) for token in offline.token_ids], [str(token) for token in final.token_ids]
    )
    score.contradictions += transcript.contradicted_by(final.text)
    score.first_partial_ms += [] if first_partial is None else [first_partial]
    score.first_commit_ms += [] if first_commit is None else [first_commit]
    counters, encoder = stream.counters, stream.encoder_counters
    score.offered += counters.offered
    score.accepted += counters.accepted
    score.encoder_tokens += encoder.closed_tokens + encoder.open_tokens
    score.dirty_windows += encoder.dirty_windows
    score.decoder_tokens += counters.prefilled + counters.offered + counters.decoded


def _common(left: str, right: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="tiny", help="a folder, a hub id, or tiny (default)")
    parser.add_argument("--interval", type=int, action="append", metavar="MS", help="step; repeatable (default 1000)")
    parser.add_argument(
        "--window", type=int, action="append", metavar="S", help="1 to 8; repeatable (default the model's)"
    )
    parser.add_argument("--attention", choices=get_args(AttentionMode), help="override what the checkpoint declares")
    parser.add_argument("--dtype", action="append", help="numeric mode; repeatable (default float32)")
    parser.add_argument("--context-limit", type=int, action="append", metavar="S", help="0: none; repeatable")
    parser.add_argument("--join", type=float, default=0.0, metavar="S", help="string clips together to this length")
    parser.add_argument("--agreement", type=int, default=SessionOptions().commit_agreement, help="of the commit rule")
    parser.add_argument("--hold-back", type=int, default=SessionOptions().commit_hold_back_ms, metavar="MS")
    parser.add_argument("--limit", type=int, help="only the first N clips")
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a streaming final differed from offline."""
    args = _parse_args(arguments)
    clips = read_manifest(args.manifest, args.limit)
    if args.join:
        clips = joined(clips, args.join)
    options = SessionOptions(commit_agreement=args.agreement, commit_hold_back_ms=args.hold_back)
    scores = []
    for values in product(args.window or [None], args.dtype or ["float32"], args.context_limit or [0]):
        window_s, dtype, limit_s = values
        setting = Setting(window_s, dtype, limit_s or None)
        recognizer = Recognizer.load(
            args.model,
            window_s=window_s,
            attention=args.attention,
            dtype=dtype,
            context_limit_s=setting.context_limit_s,
        )
        scores += [evaluate(recognizer, clips, setting, ms, options) for ms in args.interval or [1000]]
    rows = [score.row() for score in scores]
    table = Table(title=f"{args.model}: streaming against offline, {len(clips)} clips")
    for name in rows[0]:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    Console(width=220).print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {"model": args.model, "manifest": str(args.manifest), "session": asdict(options)}
        args.json.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return int(any(score.finals_differing for score in scores))


if __name__ == "__main__":
    sys.exit(main())
