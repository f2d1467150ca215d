"""The `steno` command as people run it: processes of their own, with the bundled model."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = (sys.executable, "-c", "from steno.streaming.cli import main; main()")
SAMPLES = Path(__file__).parents[1] / "models" / "tiny" / "samples"


def steno(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def serve(*arguments: str) -> Iterator[str]:
    """`steno serve` on a free port; gives the address (`localhost:PORT`). Its end by SIGTERM must be a clean one."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments], stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if "Ctrl-C stops" in line:
                break
        found = re.search(r"http://(localhost:\d+)/", "".join(said))
        assert found is not None, "".join(said)
        yield found[1]
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
        assert process.returncode == 0, "".join(said) + rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
