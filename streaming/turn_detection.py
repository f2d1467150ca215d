"""How OpenAI's clients ask for the ends of turns, in terms of our session options. Pure.

Knows the knobs of `server_vad` and `semantic_vad` and what each stands for here. Refuses to know where they come from.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from .config import SessionOptions

EAGERNESS_MS: Mapping[str, int] = MappingProxyType({"low": 2000, "medium": 1200, "auto": 1200, "high": 600})
"""`semantic_vad`: silence that ends a turn. Nothing here judges whether a sentence is complete; the eager one is asked
to wait about as long as a person would."""

DELAY_MS: Mapping[str, int] = MappingProxyType({"minimal": 200, "low": 350, "medium": 500, "high": 1000, "xhigh": 2000})
"""`delay`: time between updates."""

_AGGRESSIVENESS = ((0.3, 0), (0.45, 1), (0.7, 2), (1.0, 3))  # up to this threshold
_NEUTRAL = 0.5  # the threshold that stands for the server's own options


def with_server_vad(
    options: SessionOptions,
    *,
    threshold: float | None = None,
    prefix_padding_ms: int | None = None,
    silence_duration_ms: int | None = None,
) -> SessionOptions:
    """`options` with the knobs that are given. Raises ValueError for one out of bounds, by the client's name."""
    _within("threshold", threshold, 0.0, 1.0)
    _within("prefix_padding_ms", prefix_padding_ms, 0, 2000)
    _within("silence_duration_ms", silence_duration_ms, 100, 10_000)
    if threshold is not None and threshold != _NEUTRAL:
        options = replace(
            options,
            vad_aggressiveness=next(level for limit, level in _AGGRESSIVENESS if threshold <= limit),
            vad_margin_db=options.vad_margin_db * threshold / _NEUTRAL,
        )
    if prefix_padding_ms is not None:
        options = replace(options, pre_roll_ms=prefix_padding_ms)
    if silence_duration_ms is not None:
        options = replace(options, endpoint_ms=silence_duration_ms)
    return options


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} is {value}, expected {low} to {high}")
