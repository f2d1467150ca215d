"""Copy a few short clips of the test split into the tree, with text, source and licence beside them.

    python -m scripts.train_tiny.samples --speech ../shared/speech --speech ../shared/speech-extra \\
        --data build/tiny-data --out models/tiny/samples

Single clips are copied as they are; connected digits are joins made by `prepare`, written as Opus.
"""

import argparse
import json
import shutil
from pathlib import Path

import soundfile

from .pack import Pack, PackedClip

# source -> (kind, how many)
CHOICE: list[tuple[str, str, int]] = [
    ("fsdd-strings", "join", 2),
    ("moonshine-strings", "join", 1),
    ("alnum", "numbers", 2),
    ("alnum", "names", 1),
    ("pv-intent", "", 2),
    ("pv-wake", "", 2),
    ("ovos-ww", "", 1),
]


def choose(pack: Pack) -> list[PackedClip]:
    """Test clips of each wanted source, 1 to 9 s long, in the order of the pack, texts distinct."""
    chosen: list[PackedClip] = []
    for source, kind, count in CHOICE:
        texts: set[str] = set()
        for clip in pack.select(["test"]):
            if len(texts) == count:
                break
            seconds = clip.samples / 16_000
            if clip.source == source and clip.kind == kind and 1 <= seconds <= 9:
                if clip.text not in texts:
                    texts.add(clip.text)
                    chosen.append(clip)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pack = Pack(options.data / "pack")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, clip in enumerate(choose(pack)):
        name = f"{number:02d}-{clip.source}.opus"
        original = [f / clip.id for f in options.speech if (f / clip.id).exists()]
        if original:
            shutil.copyfile(original[0], options.out / name)
        else:
            audio = pack.audio(clip)
            soundfile.write(options.out / name, audio, 16_000, format="OGG", subtype="OPUS")
        rows.append(
            {
                "file": name,
                "text": clip.text,
                "language": clip.language,
                "speaker": clip.speaker,
                "seconds": round(clip.samples / 16_000, 2),
                "from": clip.id,
                "licence": clip.licence,
            }
        )
    with open(options.out / "samples.jsonl", "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
