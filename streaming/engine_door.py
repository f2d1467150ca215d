"""The engine as its users see it: a door for each session, results through a callable, and two ways to be refused.

Knows work and results. Refuses to know threads, models and how anything is scheduled, so that servers and tests need
not know them either.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from .work import Result, Work


class EngineFull(Exception):
    """As much of this session's work waits as may; nothing of what was submitted was taken."""


class EngineStopped(Exception):
    """The engine was stopped or its thread ended by a fault."""


Deliver: TypeAlias = Callable[[Result], None]


class EngineSession(Protocol):
    """One session's door to the engine. Any thread may use it."""

    def submit(self, work: Sequence[Work]) -> None:
        """Hand over work, all of it or (raising EngineFull or EngineStopped) none. Never blocks."""

    def disconnect(self) -> None:
        """Cancel whatever is open and deliver nothing more. May be called twice."""


class EngineLike(Protocol):
    """What servers need of an engine, whatever its recognizer's state type is."""

    @property
    def ready(self) -> bool:
        """Warmed up and running."""

    @property
    def alive(self) -> bool:
        """Neither stopped nor ended by a fault."""

    @property
    def slots(self) -> int | None:
        """Utterances that the model can hold at a time; None: as many as come."""

    def busy_s(self) -> float:
        """For how long the present step has been running; 0 between steps."""

    def refusal(self) -> str | None:
        """Why a new session would be served badly or not at all at present; None: it is welcome."""

    def connect(self, deliver: Deliver, *, bulk: bool = False) -> EngineSession:
        """Join; `deliver` is called on the engine's thread and must not block or raise."""
