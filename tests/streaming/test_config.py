"""Options: bounds, and strings from the command line, the environment and queries."""

import dataclasses

import pytest

from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions, from_strings, option_help

ALL = (SessionOptions, ServerOptions, EngineOptions)


@pytest.mark.parametrize("cls", ALL)
def test_every_option_has_help(cls: type[SessionOptions | ServerOptions | EngineOptions]) -> None:
    texts = option_help(cls)
    assert list(texts) == [each.name for each in dataclasses.fields(cls)]
    assert all(len(text) > 10 for text in texts.values())


def test_names_are_unique_so_that_flags_are() -> None:
    names = [each.name for cls in ALL for each in dataclasses.fields(cls)]
    assert len(set(names)) == len(names)


def test_from_strings() -> None:
    options = from_strings(
        SessionOptions,
        {"language": "", "languages": "en, de,", "interval_ms": "250", "vad_margin_db": "7.5"},
        SessionOptions(language="German", endpoint_ms=900),
    )
    assert options == SessionOptions(languages=("en", "de"), interval_ms=250, vad_margin_db=7.5, endpoint_ms=900)
    assert from_strings(EngineOptions, {"warm_up": "No", "window_s": "8"}) == EngineOptions(warm_up=False, window_s=8)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"intervall_ms": "250"}, "intervall_ms"),
        ({"interval_ms": "fast"}, "interval_ms is 'fast', expected a whole number"),
        ({"interval_ms": "5"}, "interval_ms is 5, expected 100 to 10000"),
        ({"vad_margin_db": "nan"}, "vad_margin_db is nan"),
        ({"max_segment_ms": "5000", "cut_search_ms": "6000"}, "cut_search_ms is 6000"),
        ({"max_segment_ms": "40000"}, "max_backlog_ms is 60000, expected at least twice"),
    ],
)
def test_bad_values_are_named(values: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        from_strings(SessionOptions, values)


def test_bad_boolean() -> None:
    with pytest.raises(ValueError, match="warm_up is 'maybe', expected true or false"):
        from_strings(EngineOptions, {"warm_up": "maybe"})
