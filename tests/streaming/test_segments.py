"""Finals leave in the order of segments, whatever order they are known in."""

from itertools import permutations

import pytest

from steno.streaming.protocol import Final, ServerMessage
from steno.streaming.segment import Segment
from steno.streaming.segments import Segments
from steno.streaming.transcript import Transcript


def opened(count: int) -> tuple[Segments, list[Segment]]:
    segments = Segments()
    return segments, [segments.open(100 * n, Transcript(agreement=1, hold_back=0)) for n in range(count)]


def final(number: int) -> tuple[ServerMessage, ...]:
    return (Final(segment=number, text=str(number), start_ms=0, end_ms=0),)


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_any_order_of_results_gives_finals_in_order(order: tuple[int, ...]) -> None:
    segments, each = opened(4)
    told: list[int] = []
    for number in order:
        told += [
            message.segment for message in segments.settle(each[number], final(number)) if isinstance(message, Final)
        ]
        assert told == list(range(len(told)))
        assert segments.find(number) is None
    assert told == [0, 1, 2, 3]
    assert len(segments) == 0
    assert segments.opened == 4


def test_backlog_counts_what_no_hypothesis_covers() -> None:
    segments, (first, second) = opened(2)
    first.fed, first.heard, second.fed = 100, 40, 7
    assert segments.backlog == 67
    segments.settle(first, final(0))
    assert segments.backlog == 7


def test_unsettled_may_be_settled_on_the_way() -> None:
    segments, _ = opened(3)
    for segment in segments.unsettled():
        segments.settle(segment, final(segment.number))
    assert len(segments) == 0
    assert list(segments.unsettled()) == []


def test_numbers_go_on() -> None:
    segments, (first,) = opened(1)
    assert segments.newest is first
    segments.settle(first, final(0))
    assert segments.open(5, Transcript(agreement=1, hold_back=0)).number == 1
    assert segments.find(1) is segments.newest
    assert segments.find(7) is None
