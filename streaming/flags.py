"""Command line flags from the fields of option dataclasses: every option is declared once, in `config`.

Knows typer and the dataclasses' metadata. Refuses to know what any option does.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import Field, fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def env_name(field_name: str) -> str:
    """The environment variable of an option: `STENO_PORT` for `port`."""
    return f"STENO_{field_name.upper()}"


def metadata_of(cls: type["DataclassInstance"], name: str) -> Any:
    """Help text and bounds of one field, for another dataclass that offers the same option."""
    (field,) = (each for each in fields(cls) if each.name == name)
    return field.metadata


def with_flags(**groups: type["DataclassInstance"]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace parameters of a command that take option dataclasses by one flag for each of their fields.

    Each field has a default, and metadata `help`, `low` and `high` (None: no bound), as in `config`.
    `@with_flags(server=ServerOptions)` calls the command with `server=ServerOptions(...)`. Values out of bounds are
    usage errors.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        kept = [each for each in signature.parameters.values() if each.name not in groups]
        flags = {name: _parameters(cls) for name, cls in groups.items()}

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            built = {name: _build(cls, values) for name, cls in groups.items()}
            rest = {each.name: values[each.name] for each in kept}
            command(**built, **rest)

        parameters = [*kept, *(each for group in flags.values() for each in group)]
        names = [each.name for each in parameters]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise TypeError(f"options declared twice: {', '.join(sorted(twice))}")
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect reads, and mypy does not know
        wrapper.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
        return wrapper

    return decorate


def _parameters(cls: type["DataclassInstance"]) -> list[inspect.Parameter]:
    hints = get_type_hints(cls)
    panel = re.split(r"[:.]", cls.__doc__ or "")[0]
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=list(field.default) if isinstance(field.default, tuple) else field.default,
            annotation=Annotated[
                _cli_type(hints[field.name]),
                _option(field, panel=panel, is_flag=hints[field.name] in (bool, bool | None)),
            ],
        )
        for field in fields(cls)
    ]


def _option(field: Field[Any], *, panel: str | None, is_flag: bool) -> Any:
    flag = field.name.replace("_", "-")
    return typer.Option(
        f"--{flag}/--no-{flag}" if is_flag else f"--{flag}",
        help=field.metadata["help"],
        min=field.metadata["low"],
        max=field.metadata["high"],
        envvar=env_name(field.name),
        rich_help_panel=panel,
        show_envvar=False,
    )


def _cli_type(hint: Any) -> Any:
    """Tuples are repeated flags."""
    if get_origin(hint) is tuple:
        return list[get_args(hint)[0]]  # type: ignore[misc]
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (each for each in get_args(hint) if each is not NoneType)
        return inner | None
    return hint


def _build(cls: type["DataclassInstance"], values: dict[str, Any]) -> "DataclassInstance":
    given = {each.name: values[each.name] for each in fields(cls) if each.name in values}
    try:
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
