"""The script that writes down what a terminal shows."""

import sys
from pathlib import Path

import pytest

from scripts import capture_demo
from scripts.terminal import Terminal


def test_a_terminal_overwrites_erases_and_goes_up() -> None:
    terminal = Terminal()
    for piece in ("one\ntwo\n", "\x1b[1A\x1b", "[2Kthr", "ee\r\x1b[1mT\x1b[0m", "\n"):
        terminal.feed(piece)
    assert terminal.lines == ["one", "Three"]


def test_dim_text_can_be_marked() -> None:
    terminal = Terminal()
    terminal.feed("\x1b[1mone\x1b[0m\x1b[2;36m two\x1b[0m three\n\x1b[2m\x1b[0mfour")
    assert terminal.lines == ["one two three", "four"]
    assert terminal.marked_lines == ["one⟨ two⟩ three", "four"]


def test_an_unknown_sequence_does_not_hold_the_screen_up() -> None:
    terminal = Terminal()
    terminal.feed("\x1bZ" + "x" * 40)
    assert terminal.lines == ["Z" + "x" * 40]


def test_every_change_of_the_screen_is_a_line() -> None:
    shown = [
        (0.0, ["one"]),
        (0.5, ["one two"]),
        (0.6, ["one two"]),
        (12.0, ["One, two.", "three"]),
        (13.0, ["One, two."]),
    ]
    assert list(capture_demo.changes(shown)) == [
        "   0.0 s  one",
        "   0.5 s  one two",
        "  12.0 s  One, two.",
        "  12.0 s  three",
    ]


def test_the_command_has_a_terminal_and_its_status_is_kept() -> None:
    transcript, status = capture_demo.capture(
        [sys.executable, "-c", "import sys; print(sys.stdout.isatty()); sys.exit(3)"]
    )
    assert transcript.endswith(" s  True\n")
    assert status == 3


def test_the_block_of_a_file_is_replaced_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- demo:begin -->\nold\n<!-- demo:end -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["capture_demo.py", "--into", str(readme), "echo", "hello"])
    assert capture_demo.main() == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- demo:begin -->\n```text\n$ echo hello\n")
    assert text.endswith("hello\n```\n<!-- demo:end -->\nafter\n")
    assert "old" not in text


def test_a_file_without_the_block_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    monkeypatch.setattr(sys, "argv", ["capture_demo.py", "--into", str(readme), "true"])
    assert capture_demo.main() == 1
    assert "has no block" in capsys.readouterr().err
    assert readme.read_text() == "nothing here"
