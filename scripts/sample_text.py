"""Print what was said in a bundled sample clip; nothing for any other file."""

import json
import sys
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "models" / "tiny" / "samples"


def spoken_text(path: Path) -> str:
    """The text of `samples.jsonl` for a clip of that folder, else ""."""
    if path.resolve().parent != SAMPLES.resolve():
        return ""
    lines = (SAMPLES / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    texts: dict[str, str] = {entry["file"]: entry["text"] for entry in map(json.loads, lines)}
    return texts.get(path.name, "")


if __name__ == "__main__":
    print(spoken_text(Path(sys.argv[1])))
