"""Write the map of the tree into README.md: a line per file, taken from the first sentence of its docstring.

python -m scripts.readme_map           # rewrite the block between the markers
python -m scripts.readme_map --check   # say only whether it is up to date (exit code 1 if not)
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- map:begin -->", "<!-- map:end -->"
FOLDERS = ("streaming", "client", "models", "scripts")
KINDS = ("", ".py", ".html", ".js", ".css")
_COMMENT = re.compile(r"^\s*(?:#|//|/\*+|<!--)\s?(.*?)\s*(?:\*/|-->)?$")


def first_sentence(path: Path) -> str:
    """What a file says of itself first: its docstring, or the first comment that is no shebang."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        words = ast.get_docstring(ast.parse(text)) or ""
    else:
        comments = [match[1] for line in text.splitlines() if (match := _COMMENT.match(line))]
        words = next((line for line in comments if line and not line.startswith(("!", "DOCTYPE"))), "")
    return re.split(r"(?<=\.)\s", " ".join(words.split("\n\n")[0].split()), maxsplit=1)[0].rstrip(".:")


def tree_map() -> str:
    """The map: folders in the order of the design, files in alphabetical order."""
    lines = ["```"]
    for top in FOLDERS:
        for folder in [ROOT / top, *sorted(path for path in (ROOT / top).rglob("*") if path.is_dir())]:
            files = sorted(path for path in folder.iterdir() if _listed(path))
            if files:
                lines.append(f"{folder.relative_to(ROOT).as_posix()}/")
                lines += [f"  {path.name:<26}{first_sentence(path)}".rstrip() for path in files]
    return "\n".join([*lines, "```"])


def _listed(path: Path) -> bool:
    hidden = path.name in ("__init__.py", "LICENSE") or "__pycache__" in path.parts
    return path.is_file() and path.suffix in KINDS and not hidden


def with_map(readme: str) -> str:
    """`readme` with its map made anew. Raises ValueError without the two markers."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{tree_map()}\n{END}{after}"


def main() -> int:
    """0 if README.md is (or was made) up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    path = ROOT / "README.md"
    readme = path.read_text(encoding="utf-8")
    fresh = with_map(readme)
    if check:
        return int(fresh != readme)
    path.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
