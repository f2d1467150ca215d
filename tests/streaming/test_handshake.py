"""What a client may choose, and how it is refused."""

import pytest

from steno.streaming.config import SessionOptions
from steno.streaming.handshake import Languages, negotiate
from steno.streaming.protocol import ErrorCode, ProtocolError, Start

LANGUAGES = Languages(("English", "German"), {"en": "English", "de": "German", "fr": "French"})


def test_what_is_left_out_is_the_servers() -> None:
    offered = SessionOptions(language="English", languages=("German",), context="names", interval_ms=300)
    assert negotiate(Start(), offered, LANGUAGES) == offered


def test_choices_replace_what_is_offered() -> None:
    chosen = negotiate(
        Start(language="DE", languages=("en",), context="mine", interval_ms=200, endpoint_ms=900),
        SessionOptions(language="English", context="names", vad_aggressiveness=3),
        LANGUAGES,
    )
    assert chosen == SessionOptions(
        language="German",
        languages=("English",),
        context="mine",
        interval_ms=200,
        endpoint_ms=900,
        vad_aggressiveness=3,
    )


def test_a_model_that_names_no_languages_takes_any() -> None:
    assert Languages().find(" Klingon ") == "Klingon"
    assert Languages((), {"fr": "French"}).find("FR") == "French"


@pytest.mark.parametrize(
    ("start", "code", "named"),
    [
        (Start(version=0), ErrorCode.UNSUPPORTED_VERSION, "version is 0, expected 1"),
        (Start(language="fr"), ErrorCode.UNKNOWN_LANGUAGE, "language is 'fr', expected one of English, German"),
        (Start(resume="x"), ErrorCode.UNKNOWN_RESUME, "start a new one"),
        (Start(interval_ms=99), ErrorCode.BAD_FIELD, "interval_ms is 99, expected 100 to 10000"),
        (Start(endpoint_ms=10_001), ErrorCode.BAD_FIELD, "endpoint_ms is 10001"),
        (Start(context="x" * 2001), ErrorCode.BAD_FIELD, "context has 2001 characters, expected at most 2000"),
    ],
)
def test_refusals_name_the_value_and_what_was_expected(start: Start, code: ErrorCode, named: str) -> None:
    with pytest.raises(ProtocolError, match=named) as fault:
        negotiate(start, SessionOptions(), LANGUAGES)
    assert fault.value.code == code
