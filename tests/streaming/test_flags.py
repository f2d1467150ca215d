"""Flags from dataclass fields: types, bounds, defaults and environment variables are those of the fields."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions
from steno.streaming.flags import env_name, metadata_of, with_flags


def option(default: Any, *, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": f"help of {default}", "low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The first words: these are not shown."""

    count: int = option(3, low=1, high=9)
    ratio: float = option(0.5)
    name: str | None = option(None)
    parts: tuple[str, ...] = option(())
    noisy: bool = option(True)
    odd_only: bool = option(False)

    def __post_init__(self) -> None:
        if self.odd_only and self.count % 2 == 0:
            raise ValueError(f"count is {self.count}, expected an odd number")


def run(arguments: Sequence[str], env: dict[str, str] | None = None) -> tuple[Result, list[tuple[Options, str]]]:
    calls: list[tuple[Options, str]] = []
    app = typer.Typer(add_completion=False)

    @app.command()
    @with_flags(options=Options)
    def command(file: str, options: Options) -> None:
        calls.append((options, file))

    return CliRunner().invoke(app, list(arguments), env=env, terminal_width=200), calls


def test_without_flags_the_defaults_of_the_fields_hold() -> None:
    assert run(["f"])[1] == [(Options(), "f")]


def test_every_type_of_field_has_its_flag() -> None:
    arguments = "--count 5 --ratio 2 --name n --parts a --parts b --no-noisy f".split()
    _, calls = run(arguments)
    assert calls == [(Options(count=5, ratio=2.0, name="n", parts=("a", "b"), noisy=False), "f")]


def test_environment_variables_stand_behind_flags() -> None:
    env = {"STENO_COUNT": "7", "STENO_NOISY": "0", "STENO_PARTS": "a b"}
    assert run(["f"], env)[1] == [(Options(count=7, noisy=False, parts=("a", "b")), "f")]
    assert run(["--count", "8", "f"], env)[1][0][0].count == 8


@pytest.mark.parametrize(
    "arguments", [["--count", "10", "f"], ["--count", "x", "f"], ["--odd-only", "--count", "4", "f"]]
)
def test_bad_values_are_usage_errors_that_name_the_option(arguments: list[str]) -> None:
    result, calls = run(arguments)
    assert result.exit_code == 2
    assert not calls
    assert re.search("--count|count is 4", result.output)


def test_help_shows_panel_help_text_and_bounds() -> None:
    output = run(["--help"])[0].output
    assert "The first words" in output
    assert "these are not shown" not in output
    assert "help of 3" in output
    assert "1<=x<=9" in output


def test_an_option_declared_twice_is_a_bug_that_shows_at_once() -> None:
    with pytest.raises(TypeError, match="declared twice: count"):

        @with_flags(options=Options)
        def command(count: int, options: Options) -> None: ...


@pytest.mark.parametrize("cls", [ServerOptions, SessionOptions, EngineOptions])
def test_every_option_of_the_product_becomes_a_flag(
    cls: type[ServerOptions] | type[SessionOptions] | type[EngineOptions],
) -> None:
    seen: list[object] = []
    app = typer.Typer(add_completion=False)

    @app.command()
    @with_flags(options=cls)
    def command(options: Any) -> None:
        seen.append(options)

    runner = CliRunner()
    assert runner.invoke(app, []).exit_code == 0
    assert seen == [cls()]
    output = runner.invoke(app, ["--help"], terminal_width=200).output
    assert all(f"--{each.name.replace('_', '-')}" in output for each in fields(cls))


def test_metadata_can_be_taken_over_by_another_dataclass() -> None:
    assert metadata_of(Options, "count")["high"] == 9
    assert env_name("max_ahead_ms") == "STENO_MAX_AHEAD_MS"
