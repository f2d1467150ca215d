"""Sizes in words, and what is left for slots."""

from __future__ import annotations

import pytest

from steno.models.device import parse_bytes
from steno.models.memory_budget import CONTEXT, WORKING, cache_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 * GIB), ("8gib", 8 * GIB), (" 1.5 GiB ", 3 * GIB // 2), ("8000MB", 8 * 10**9), ("1TB", 10**12)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "8", "8 G", "GiB", "-8GiB", "8GiB more", "1e3GiB", "nan GiB"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="as in 8GiB") as caught:
        parse_bytes(text)
    assert repr(text) in str(caught.value)


def test_a_size_that_holds_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1GiB"):
        parse_bytes("512MiB")


def test_the_cap_bounds_all_that_the_process_takes() -> None:
    left = cache_bytes(free=70 * GIB, used=2 * GIB, cap=8 * GIB)
    assert left + 2 * GIB + CONTEXT + WORKING == 8 * GIB


def test_without_a_cap_nearly_all_that_is_free_is_taken() -> None:
    left = cache_bytes(free=70 * GIB, used=2 * GIB, cap=None)
    assert 60 * GIB < left < 70 * GIB - WORKING


def test_a_cap_above_what_is_free_changes_nothing() -> None:
    assert cache_bytes(10 * GIB, GIB, 80 * GIB) == cache_bytes(10 * GIB, GIB, None)


def test_too_little_memory_is_told_in_numbers() -> None:
    with pytest.raises(ValueError, match=r"cap of 4\.0GiB, the model and its work take 6\.1GiB"):
        cache_bytes(70 * GIB, 4 * GIB, 4 * GIB)
