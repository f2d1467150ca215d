"""Who may import whom. Every import of the product is read from its source; nothing is run.

Arrows point down: server -> session, engine; session -> its own pure parts; engine -> models; the client knows the
protocol and how a file is decoded; models know nobody. A file that is named nowhere below belongs to the server.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("streaming", "client", "models")

PURE_ROOTS = ("session", "chunker", "transcript", "protocol")
PURE_BANS = ("asyncio", "torch", "threading", "time", "socket", "starlette", "uvicorn", "websockets")

ROOMS = {
    "models.*": "models",
    "client.*": "client",
    "streaming.cli": "commands",
    "streaming.offline": "commands",
    "streaming.loading": "loading",
    "streaming.engine": "engine",
    "streaming.engine_door": "engine",
    "streaming.stepper": "engine",
    "streaming.word_timing": "engine",
    "streaming.scheduler": "engine",
    "streaming.pace": "engine",
    "streaming.*": "server",
}
"""Module -> room, first match wins."""

ALLOWED = {
    "models": ("models.*",),
    "client": ("client.*", "streaming.protocol", "streaming.decoded_audio"),
    "engine": (
        "models.recognizer",
        "models.aligner",
        "streaming.config",
        "streaming.metrics",
        "streaming.work",
        "streaming.engine",
        "streaming.engine_door",
        "streaming.word_timing",
        "streaming.stepper",
        "streaming.scheduler",
        "streaming.pace",
    ),
    "loading": (
        "models.recognizer",
        "models.aligner",
        "models.device",
        "models.languages",
        "models.checkpoint",
        "streaming.config",
        "streaming.engine",
        "streaming.metrics",
    ),
    "server": ("streaming.[!c]*", "streaming.c[!l]*"),  # anything but cli, nothing of models and of the client
    "commands": ("streaming.*", "client.*", "models.*"),
}
"""Room -> what its files may import of ours."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, absolute; ours without the leading `steno.`. `lazy`: inside a function or for types only."""

    importer: str
    module: str
    lazy: bool

    @property
    def ours(self) -> bool:
        return self.module.split(".")[0] in FOLDERS


def _modules() -> dict[str, Path]:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(paths)}


MODULES = _modules()


def _imports(importer: str) -> Iterator[Import]:
    path = MODULES[importer]
    package = importer.split(".") if path.name == "__init__.py" else importer.split(".")[:-1]
    package = [part for part in package if part != "__init__"]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy_nodes = {id(inner) for node in ast.walk(tree) if _defers(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        lazy = id(node) in lazy_nodes
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name.removeprefix("steno."), lazy)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])]).removeprefix("steno.")
            for (
                alias
            ) in node.names:  # `from . import outbox` names a module, `from .outbox import Outbox` a thing in one
                inner = f"{module}.{alias.name}"
                yield Import(importer, inner if inner in MODULES else module, lazy)


def _defers(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


ALL = {name: tuple(_imports(name)) for name in MODULES}


def _room(module: str) -> str:
    return next(room for pattern, room in ROOMS.items() if fnmatch(module, pattern))


def _matches(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(module, pattern) for pattern in patterns)


def _pure() -> set[str]:
    """The pure roots and all that they import of ours."""
    found: set[str] = set()
    waiting = [f"streaming.{name}" for name in PURE_ROOTS if f"streaming.{name}" in MODULES]
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting += [each.module for each in ALL[module] if each.module in MODULES and each.module not in found]
    return found


@pytest.mark.parametrize("module", list(MODULES))
def test_arrows(module: str) -> None:
    room = _room(module)
    wrong = [each.module for each in ALL[module] if each.ours and not _matches(each.module, ALLOWED[room])]
    assert not wrong, f"{module} ({room}) may import {', '.join(ALLOWED[room])}, not {', '.join(wrong)}"


@pytest.mark.parametrize("module", list(MODULES))
def test_torch_stays_in_models(module: str) -> None:
    tops = {each.module.split(".")[0] for each in ALL[module]}
    assert _room(module) == "models" or "torch" not in tops


def test_session_chunker_transcript_and_protocol_are_pure() -> None:
    pure = _pure()
    assert {f"streaming.{name}" for name in PURE_ROOTS} <= pure
    for module in pure:
        tops = {each.module.split(".")[0] for each in ALL[module]}
        assert not tops & set(PURE_BANS), f"{module} imports {tops & set(PURE_BANS)}"
        assert _room(module) == "server", f"{module} is reached from the session"
        assert not {each.module for each in ALL[module]} & {"streaming.metrics", "streaming.server"}


def test_the_command_imports_server_and_client_lazily() -> None:
    eager = {each.module for each in ALL["streaming.cli"] if each.ours and not each.lazy}
    assert eager <= {"streaming.config", "streaming.flags", "streaming.protocol"}


def test_models_have_no_cycle() -> None:
    below: dict[str, set[str]] = {
        name: {each.module for each in ALL[name] if each.module in MODULES}
        for name in MODULES
        if _room(name) == "models"
    }
    while below:
        free = {name for name, needs in below.items() if not needs & below.keys()}
        assert free, f"a cycle among {', '.join(sorted(below))}"
        below = {name: needs for name, needs in below.items() if name not in free}


def test_the_reader_sees_imports() -> None:
    """Guards the guard: known arrows are found, with their kind."""
    assert Import("models.recognizer", "models.prompt", lazy=False) in ALL["models.recognizer"]
    assert any(each.module == "torch" for each in ALL["models.decoder"])
    assert any(each.module.startswith("client.") and each.lazy for each in ALL["streaming.cli"])
    assert Import("client.client", "streaming.protocol", lazy=False) in ALL["client.client"]
