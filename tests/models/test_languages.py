"""Names and codes of the thirty languages."""

from __future__ import annotations

import pytest

from steno.models.languages import CODES, NAMES, LanguageError, resolve


def test_thirty_languages_with_a_code_each() -> None:
    assert len(CODES) == len(NAMES) == 30


def test_the_table_is_that_of_the_reference() -> None:
    from transformers.models.qwen3_asr.processing_qwen3_asr import LANGUAGE_CODE_TO_NAME

    assert NAMES == LANGUAGE_CODE_TO_NAME


@pytest.mark.parametrize("name", list(CODES))
def test_names_and_codes_resolve_in_any_case(name: str) -> None:
    spellings = (name, name.lower(), name.upper(), CODES[name], CODES[name].upper(), f" {name} ")
    assert {resolve(spelling) for spelling in spellings} == {name}


@pytest.mark.parametrize(
    ("tag", "name"), [("en-US", "English"), ("pt_BR", "Portuguese"), ("zh-Hant-TW", "Chinese"), ("cmn-CN", "Chinese")]
)
def test_regions_do_not_matter(tag: str, name: str) -> None:
    assert resolve(tag) == name


@pytest.mark.parametrize("value", ["Klingon", "", "xx", "None", "Chinese (Wu)"])
def test_an_unknown_language_is_named_with_what_is_accepted(value: str) -> None:
    with pytest.raises(LanguageError, match="unknown language") as raised:
        resolve(value)
    assert repr(value) in str(raised.value)
    assert "English (en)" in str(raised.value)
    assert "Macedonian (mk)" in str(raised.value)
