"""The wheel holds every file of the packages, and the light install works without torch and the server's libraries."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("streaming", "client", "models")


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files that git knows, so that nothing lying about gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = _run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("steno/")}
    expected = {
        f"steno/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == expected


def test_the_light_install_runs_without_torch(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "light", with_pip=True)
    python = tmp_path / "light" / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", wheel)
    packages = _run(python, "-m", "pip", "list").lower()
    assert "torch" not in packages
    assert "starlette" not in packages
    steno = tmp_path / "light" / "bin" / "steno"
    assert "steno" in _run(steno, "--version")
    for command in ("stream", "mic", "devices"):
        assert "Usage" in _run(steno, command, "--help")
    _run(python, "-c", "import steno.client.client, steno.client.captions, steno.client.microphone")
    refused = subprocess.run([steno, "serve"], capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0
    assert "steno[server]" in refused.stdout + refused.stderr
