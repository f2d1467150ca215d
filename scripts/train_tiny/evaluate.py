"""Third of the three commands: a checkpoint's error rates through the recognizer that serves.

    python -m scripts.train_tiny.evaluate --data build/tiny-data --model tiny \\
        --noise ../shared/speech/streams --windows 1 2 4 8 --streaming --out build/tiny-eval.json

Test speakers are disjoint from the training's (see split.json). Word error rate, characters in
Chinese; language accuracy; words heard in a minute of noise; real-time factor of streaming on
`--threads` threads.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from steno.models.recognizer import Recognizer

from .pack import Pack, PackedClip
from .word_errors import ErrorCount, units

SAMPLE_RATE = 16_000
BATCH = 24
NOISE_PIECE_S = 8
Samples = NDArray[np.float32]
Answer = tuple[str, str | None]  # text, language


def group(clip: PackedClip) -> str:
    """What a clip tests, in the words of the model card."""
    if clip.source in ("fsdd", "moonshine"):
        return "isolated letters" if len(clip.text) == 1 else f"isolated digits ({clip.source})"
    return {
        "fsdd-strings": "digit strings (fsdd)",
        "moonshine-strings": "digit strings (moonshine)",
        "alnum": "phone numbers" if clip.kind == "numbers" else "spelled names",
        "pv-intent": "coffee orders",
        "pv-wake": "wake words (pv-wake)",
        "ovos-ww": f"wake words and commands (ovos, {clip.language})",
        "asterisk-en": "prompts, English",
        "asterisk-es": "prompts, Spanish",
        "cmn-hsk": "words, Mandarin (CER)",
    }[clip.source]


def choose(clips: Sequence[PackedClip], per_group: int) -> list[PackedClip]:
    """The first `per_group` clips of each group."""
    taken: dict[str, int] = defaultdict(int)
    chosen = []
    for clip in clips:
        taken[group(clip)] += 1
        if taken[group(clip)] <= per_group:
            chosen.append(clip)
    return chosen


def offline(recognizer: Recognizer, clips: Sequence[Samples]) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(clips), BATCH):
        found = recognizer.transcribe(list(clips[start : start + BATCH]))
        answers += [(t.text, t.language) for t in found]
    return answers


def stream(recognizer: Recognizer, samples: Samples, step_s: float) -> Answer:
    """One clip fed in steps of `step_s` with a hypothesis asked for after each; the final's text."""
    step = int(step_s * SAMPLE_RATE)
    state = recognizer.open()
    try:
        for start in range(0, samples.size, step):
            piece = samples[start : start + step]
            recognizer.feed(state, piece, final=start + step >= samples.size)
            hypothesis = recognizer.step([state])[0]
    finally:
        recognizer.close(state)
    return hypothesis.text, hypothesis.language


def rates(clips: Sequence[PackedClip], answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Per group: error rate, units in the references, clips, share of clips whose language is right."""
    counts: dict[str, ErrorCount] = defaultdict(ErrorCount)
    right: dict[str, int] = defaultdict(int)
    for clip, (text, language) in zip(clips, answers, strict=True):
        for name in (group(clip), "all"):
            counts[name].add(clip.text, text, clip.language)
            right[name] += language == clip.language
    return {
        name: {
            "error_rate": round(count.rate, 4),
            "units": count.units,
            "clips": count.clips,
            "language_right": round(right[name] / count.clips, 4),
        }
        for name, count in sorted(counts.items())
    }


def noise_pieces(folder: Path) -> Iterator[tuple[str, Samples]]:
    """Pieces of 8 s of the recordings of noise and music whose transcript is known to be empty."""
    for line in (folder.parent / f"{folder.name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["language"] is None and row["text"] == "":
            path = folder.parent / row["path"]
            samples, rate = soundfile.read(path, dtype="float32")
            if rate != SAMPLE_RATE or samples.ndim != 1:
                raise ValueError(f"{path}: expected mono at {SAMPLE_RATE} Hz, got {samples.shape} at {rate}")
            size = NOISE_PIECE_S * SAMPLE_RATE
            for start in range(0, samples.size, size):
                yield path.stem, samples[start : start + size]


def false_words(recognizer: Recognizer, folder: Path) -> dict[str, float]:
    """Words per minute that the recognizer hears in each recording of noise, without any VAD before it."""
    pieces = list(noise_pieces(folder))
    answers = offline(recognizer, [samples for _, samples in pieces])
    words: dict[str, int] = defaultdict(int)
    minutes: dict[str, float] = defaultdict(float)
    for (name, samples), (text, language) in zip(pieces, answers, strict=True):
        for key in (name, "all"):
            words[key] += len(units(text, language or "English"))
            minutes[key] += samples.size / SAMPLE_RATE / 60
    return {name: round(words[name] / minutes[name], 2) for name in sorted(words)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="what prepare wrote")
    parser.add_argument("--model", default="tiny", help="checkpoint folder, or the bundled one")
    parser.add_argument("--noise", type=Path, help="folder of noise, its .jsonl beside it")
    parser.add_argument("--windows", type=int, nargs="*", default=[], help="seconds, 1 to 8")
    parser.add_argument("--dtypes", nargs="*", default=[], help="numeric modes beside float32")
    parser.add_argument("--attention", choices=["window", "rolling"], help="default: as declared")
    parser.add_argument("--streaming", action="store_true", help="also step by step")
    parser.add_argument("--step-s", type=float, default=0.5)
    parser.add_argument("--split", default="test")
    parser.add_argument("--per-group", type=int, default=10**9, help="at most so many clips of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--texts", type=Path, help="write reference and answer of every clip here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)

    pack = Pack(options.data / "pack")
    clips = choose(pack.select([options.split]), options.per_group)
    audio = [pack.audio(clip) for clip in clips]

    def load(window_s: int | None, dtype: str = "float32") -> Recognizer:
        return Recognizer.load(
            options.model, window_s=window_s, attention=options.attention, dtype=dtype, progress=False
        )

    def measure(answer: Callable[[], list[Answer]]) -> tuple[list[Answer], float]:
        began = time.perf_counter()
        answers = answer()
        return answers, (time.perf_counter() - began) * SAMPLE_RATE / sum(a.size for a in audio)

    recognizer = load(None)
    answers, factor = measure(lambda: offline(recognizer, audio))
    result: dict[str, object] = {"offline": rates(clips, answers), "offline_rtf": round(factor, 4)}
    if options.texts:
        lines = (f"{group(c)}\t{c.text}\t{a[0]}\t{a[1]}\n" for c, a in zip(clips, answers, strict=True))
        options.texts.write_text("".join(lines), encoding="utf-8")
    if options.streaming:
        streamed, factor = measure(lambda: [stream(recognizer, a, options.step_s) for a in audio])
        result["streaming"] = rates(clips, streamed)
        result["streaming_rtf"] = round(factor, 4)
        result["streaming_differs"] = sum(a != b for a, b in zip(answers, streamed, strict=True))
    for window_s in options.windows:
        windowed = offline(load(window_s), audio)
        result[f"window_{window_s}s"] = {k: v["error_rate"] for k, v in rates(clips, windowed).items()}
    for dtype in options.dtypes:
        rounded = offline(load(None, dtype), audio)
        result[dtype] = {k: v["error_rate"] for k, v in rates(clips, rounded).items()}
        result[f"{dtype}_differs"] = sum(a != b for a, b in zip(answers, rounded, strict=True))
    if options.noise:
        result["false_words_per_minute"] = false_words(recognizer, options.noise)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
