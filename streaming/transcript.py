"""Committed and tentative text of one segment, by agreement of consecutive hypotheses and a hold-
back.
"""

from typing import Protocol


class Hypothesis(Protocol):
    """What the engine knows of a segment at one moment (`models.recognizer.Hypothesis` fits)."""

    @property
    def token_ids(self) -> tuple[int, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def language(self) -> str | None: ...
    @property
    def logprobs(self) -> tuple[float, ...]: ...
    @property
    def samples_seen(self) -> int: ...
    @property
    def final(self) -> bool: ...
    @property
    def truncated(self) -> bool: ...
