"""The messages of one segment."""

import pytest

from steno.streaming.protocol import Final, Notice, NoticeCode, Partial, Token, Word
from steno.streaming.segment import Segment
from steno.streaming.transcript import Transcript
from steno.streaming.work import AlignedWord
from tests.scripted import Said

MS = 16


def ended(start_ms: int = 1000, end_ms: int = 3000) -> Segment:
    segment = Segment(4, start_ms * MS, Transcript(agreement=1, hold_back=0))
    segment.end = end_ms * MS
    segment.fed = (end_ms - start_ms) * MS
    return segment


def test_a_partial_covers_what_was_heard() -> None:
    segment = ended()
    said = Said("guten tag", 500 * MS, language="German")
    segment.hear(said)
    segment.transcript.receive(said)
    assert segment.partial() == Partial(
        segment=4, revision=1, committed="guten ta", tentative="g", language="German", start_ms=1000, end_ms=1500
    )


@pytest.mark.parametrize(("seen", "heard"), [(500, 500), (100, 200), (10**9, 2000 * MS)])
def test_heard_neither_falls_nor_passes_what_was_fed(seen: int, heard: int) -> None:
    segment = ended()
    segment.hear(Said("", 200))
    segment.hear(Said("", seen))
    assert segment.heard == heard


def test_a_final_with_everything() -> None:
    said = Said(" hi all ", language="English", token_ids=(9, 1, 2), token_ends=(0, 3, 7), logprobs=(0.0, -0.2, -0.4))
    (final,) = ended().recognised(said, (AlignedWord("hi", 160, 320),), logprobs=True)
    assert final == Final(
        segment=4,
        text="hi all",
        language="English",
        start_ms=1000,
        end_ms=3000,
        confidence=0.8187,
        words=(Word(text="hi", start_ms=1010, end_ms=1020),),
        tokens=(Token(text=" hi", logprob=-0.2), Token(text=" all", logprob=-0.4)),
    )


def test_nothing_said() -> None:
    (final,) = ended().recognised(Said("", language=None), None)
    assert final == Final(segment=4, text="", start_ms=1000, end_ms=3000)


def test_given_up_and_cleared() -> None:
    segment = ended()
    segment.transcript.receive(Said("partly"))
    notice, final = segment.given_up("it failed")
    assert notice == Notice(code=NoticeCode.UNTRANSCRIBED, message="it failed", segment=4, start_ms=1000, end_ms=3000)
    assert final == Final(segment=4, text="partl", language="English", start_ms=1000, end_ms=3000)
    assert segment.cleared() == (Final(segment=4, text="", start_ms=1000, end_ms=3000),)
