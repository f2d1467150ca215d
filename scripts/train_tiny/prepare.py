"""First of the three commands: recordings and synthetic speech in, one compact pack out.

    python -m scripts.train_tiny.prepare --speech ../shared/speech --speech ../shared/speech-extra \\
        --out build/tiny-data [--synthetic 22000] [--seed 4]

Writes OUT/pack (audio and index with split, text, speaker, licence), OUT/phonemes.json, OUT/tokenizer (the official
three files) and OUT/split.json (counts and rules). The folders given must hold a manifest.jsonl.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TextIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from . import phrases, splits, synthesis
from .pack import Pack, PackedClip, PackWriter
from .phonemes import write_pronunciations
from .transcripts import DIGITS, normalise
from .vocabulary import write_vocabulary

SAMPLE_RATE = 16_000
LONGEST_S = 20.0
LANGUAGE_NAMES = {"en": "English", "es": "Spanish", "zh": "Chinese"}


def read_rows(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Rows of a manifest whose transcript has one certain reading, with the normal form in it."""
    rows = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text = normalise(row["text"], row["language"])
        if row["path"].startswith("alnum/names"):
            # Names are prompted in capitals and spelled out.
            text = " ".join(row["text"].lower().replace(" ", ""))
        if text is None or row["dur"] > LONGEST_S or row.get("kind") == "addresses":
            continue
        row["text"] = text
        rows.append((folder / row["path"], row))
    return rows


def read_audio(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32")
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return np.asarray(samples, dtype=np.float32)


def pack_recordings(rows: list[tuple[Path, dict[str, str]]], writer: PackWriter, seed: int) -> None:
    clips = [splits.Clip(r["path"], r["path"].split("/")[0], r["speaker"], r["text"]) for _, r in rows]
    split_of = splits.assign(clips, seed)
    for (path, row), clip in zip(rows, clips, strict=True):
        writer.add(
            read_audio(path),
            id=row["path"],
            text=row["text"],
            language=LANGUAGE_NAMES[row["language"]],
            speaker=row["speaker"],
            source=clip.source,
            kind=row.get("kind") or "",
            split=split_of[row["path"]],
            licence=row["licence"],
        )


def pack_strings(out: Path, writer: PackWriter, packed: list[PackedClip], seed: int) -> None:
    """Connected digit strings of held-out speakers: the test of digits in sequence."""
    rng = random.Random(seed)
    audio = np.memmap(out / "audio.i16", dtype="<i2", mode="r")
    words: dict[tuple[str, str, str], list[PackedClip]] = defaultdict(list)
    for clip in packed:
        if clip.source in ("fsdd", "moonshine") and clip.split in ("dev", "test"):
            if len(clip.text) > 1:  # letters are tested by the spelled names
                words[clip.source, clip.split, clip.speaker].append(clip)
    for (source, split, speaker), members in sorted(words.items()):
        for number in range(60 if source == "fsdd" and split == "test" else 15):
            chosen = [rng.choice(members) for _ in range(rng.randint(3, 8))]
            parts: list[NDArray[np.float32]] = []
            for clip in chosen:
                gap = int(rng.uniform(0.05, 0.3) * SAMPLE_RATE)
                pcm = audio[clip.start : clip.start + clip.samples]
                parts += [np.zeros(gap, np.float32), pcm.astype(np.float32) / np.float32(32768)]
            writer.add(
                np.concatenate(parts),
                id=f"{source}-strings/{speaker.split(':')[1]}-{split}-{number}",
                text=" ".join(clip.text for clip in chosen),
                language="English",
                speaker=speaker,
                source=f"{source}-strings",
                kind="join",
                split=split,
                licence=chosen[0].licence,
            )


def synthetic_jobs(count: int, seed: int) -> Iterator[tuple[str, str, str, synthesis.Voice]]:
    """(kind, language code, text, voice); voices come in runs, so that one voice can be joined."""
    rng = random.Random(seed)
    kinds = list(phrases.ENGLISH)
    shares = [phrases.ENGLISH[k][1] for k in kinds]
    made = 0
    while made < count:
        language = "es" if rng.random() < 0.06 else "en"
        voice = synthesis.draw_voice(rng, language)
        for kind in rng.choices(kinds, shares, k=min(12, count - made)):
            if language == "es":
                yield "spanish", language, phrases.spanish(rng), voice
            else:
                yield kind, language, phrases.ENGLISH[kind][0](rng), voice
            made += 1


def _render(job: tuple[str, str, str, synthesis.Voice]) -> synthesis.Timed:
    _, language, text, voice = job
    return synthesis.render(phrases.spoken(text) if language == "en" else text, voice)


def pack_synthetic(writer: PackWriter, times: TextIO, count: int, seed: int, workers: int) -> None:
    """Add synthetic clips; `times` gets one JSON line per clip whose phonemes are timed."""
    if count == 0:
        return
    jobs = list(synthetic_jobs(count, seed))
    with ProcessPoolExecutor(workers) as pool:
        for i, (samples, phonemes) in enumerate(pool.map(_render, jobs, chunksize=32)):
            kind, language, text, voice = jobs[i]
            if samples.size < 800:
                continue
            clip = writer.add(
                samples,
                id=f"synthetic/{seed}-{i}",
                text=text,
                language=LANGUAGE_NAMES[language],
                speaker=voice.speaker,
                source="synthetic",
                kind=kind,
                split="train",
                licence="made here",
            )
            if phonemes:
                times.write(json.dumps({"start": clip.start, "phonemes": phonemes}) + "\n")


def vocabulary_texts(clips: list[PackedClip], seed: int) -> Iterator[str]:
    """Texts of the train split, and the words of the prompt so often that they become tokens."""
    rng = random.Random(seed)
    for clip in clips:
        if clip.split == "train":
            # A word is one entry at the start of a text and another after a space.
            yield from (clip.text, f" {clip.text}") if clip.source != "synthetic" else (clip.text,)
    for _ in range(300):
        yield from ("system\n", "user\n", "assistant\n", "language English", "language Spanish")
        yield from ("language Chinese", "language None")
        yield " " + " ".join(phrases.LETTERS)
        yield from phrases.LETTERS
        yield from DIGITS
        yield phrases.coffee_order(rng)
    for word in phrases.WAKE_WORDS:
        yield from [word] * 100


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--synthetic", type=int, default=22000, help="synthetic clips to make")
    parser.add_argument("--vocabulary", type=int, default=1000, help="BPE entries, bytes included")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)

    rows = [row for folder in options.speech for row in read_rows(folder)]
    folder = options.out / "pack"
    with PackWriter(folder) as writer, open(folder / "phoneme_times.jsonl", "w", encoding="utf-8") as times:
        pack_recordings(rows, writer, options.seed)
        pack_synthetic(writer, times, options.synthetic, options.seed, options.workers)
        writer.flush()
        pack_strings(folder, writer, Pack(folder).clips, options.seed)
    pack = Pack(folder)
    write_pronunciations(((c.text, c.language) for c in pack.select(["train"])), options.out / "phonemes.json")
    ids = write_vocabulary(vocabulary_texts(pack.clips, options.seed), options.out / "tokenizer", options.vocabulary)
    hours: Counter[str] = Counter()
    for clip in pack.clips:
        hours[f"{clip.source}/{clip.split}"] += clip.samples
    summary = {
        "seed": options.seed,
        "rules": splits.RULES,
        "vocabulary": ids,
        "clips": Counter(f"{c.source}/{c.split}" for c in pack.clips),
        "hours": {k: round(n / SAMPLE_RATE / 3600, 3) for k, n in hours.items()},
        "speakers": {
            split: sorted({c.speaker for c in pack.clips if c.split == split and c.source != "synthetic"})
            for split in ("train", "dev", "test")
        },
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    (options.out / "split.json").write_text(text, encoding="utf-8")
    print(json.dumps({k: summary[k] for k in ("vocabulary", "clips", "hours")}, indent=1))


if __name__ == "__main__":
    main()
