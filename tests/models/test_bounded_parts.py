"""Parts are whole, in order and bounded."""

import pytest

from steno.models.bounded_parts import bounded_parts


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([9], [[9]]),
        ([1, 2, 3], [[1, 2], [3]]),
        ([3, 1, 1, 1, 9, 1], [[3], [1, 1, 1], [9], [1]]),
        ([0, 3, 0, 1], [[0, 3, 0], [1]]),
    ],
)
def test_parts(sizes: list[int], expected: list[list[int]]) -> None:
    assert [sizes[part] for part in bounded_parts(sizes, 3)] == expected
