"""Run a command in a pseudo-terminal and write down what its screen shows, for README.

    scripts/capture_demo.py --into README.md scripts/demo

Each change of the screen becomes a line with its time; dim text, which may still change, stands in ⟨brackets⟩. With
`--into`, what stands between `<!-- demo:begin -->` and `<!-- demo:end -->` in that file is replaced. Exits with the
command's status.
"""

import argparse
import codecs
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    from scripts.terminal import Terminal
except ImportError:  # run as a script: this folder is the path
    from terminal import Terminal  # type: ignore[import-not-found,no-redef]  # the same class

COLUMNS = 100
BLOCK = re.compile(r"(<!-- demo:begin -->\n).*?(<!-- demo:end -->)", re.DOTALL)


def screens(process: subprocess.Popen[bytes], main: int) -> Iterator[tuple[float, list[str]]]:
    """Seconds since now and what stands on the screen, after each piece of output, until the program's end."""
    terminal, decoder, started = Terminal(), codecs.getincrementaldecoder("utf-8")("replace"), time.monotonic()
    try:
        while output := os.read(main, 65536):
            terminal.feed(decoder.decode(output))
            yield time.monotonic() - started, terminal.marked_lines
    except OSError:
        pass  # how Linux tells that the other side of a pseudo-terminal is closed
    process.wait()


def changes(shown: Iterable[tuple[float, list[str]]]) -> Iterator[str]:
    """A line for each line of a screen that was not there before."""
    before: list[str] = []
    for seconds, lines in shown:
        same = next((i for i, (a, b) in enumerate(zip(before, lines, strict=False)) if a != b), len(before))
        yield from (f"{seconds:6.1f} s  {line}" for line in lines[same:])
        before = lines


def capture(command: list[str]) -> tuple[str, int]:
    """The transcript, and the exit status of the command."""
    main, secondary = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "40", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=secondary, stderr=secondary, env=env)
    os.close(secondary)
    try:
        written = list(changes(screens(process, main)))
    finally:
        os.close(main)
    return "\n".join(["$ " + " ".join(command), *written]) + "\n", process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="file whose demo block is replaced")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    transcript, status = capture(options.command or ["scripts/demo"])
    if options.into is None:
        sys.stdout.write(transcript)
        return status
    text = options.into.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        print(f"{options.into} has no block between <!-- demo:begin --> and <!-- demo:end -->", file=sys.stderr)
        return 1
    block = f"```text\n{transcript}```\n"
    options.into.write_text(BLOCK.sub(lambda found: found[1] + block + found[2], text), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
