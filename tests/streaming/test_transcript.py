"""Committed text: agreement, hold-back, whole characters, and what happens when the recognizer changes its mind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno.streaming.graphemes import is_boundary
from steno.streaming.transcript import Transcript
from tests.scripted import Said


def told(transcript: Transcript, *hypotheses: Said) -> list[tuple[str, str]]:
    shown = []
    for each in hypotheses:
        transcript.receive(each)
        shown.append((transcript.committed, transcript.tentative))
    return shown


def test_two_hypotheses_in_a_row_commit_all_but_the_last_character() -> None:
    transcript = Transcript(agreement=2, hold_back=0)
    assert told(transcript, Said("hello wor", 100), Said("hello world", 200)) == [
        ("", "hello wor"),
        ("hello wor", "ld"),
    ]


def test_the_last_character_waits_for_what_may_join_it() -> None:
    transcript = Transcript(agreement=2, hold_back=0)
    assert told(transcript, Said("cafe", 1), Said("cafe", 2), Said("cafe\u0301 noir", 3)) == [
        ("", "cafe"),
        ("caf", "e"),
        ("caf", "e\u0301 noir"),
    ]


@pytest.mark.parametrize(("agreement", "committed_after"), [(1, 1), (2, 2), (4, 4)])
def test_agreement_counts_hypotheses(agreement: int, committed_after: int) -> None:
    transcript = Transcript(agreement=agreement, hold_back=0)
    shown = told(transcript, *(Said("same text", index) for index in range(5)))
    assert [committed != "" for committed, _ in shown].index(True) + 1 == committed_after


def test_a_hypothesis_that_heard_nothing_new_is_no_evidence() -> None:
    transcript = Transcript(agreement=2, hold_back=0)
    shown = told(transcript, *(Said("same text", heard) for heard in (8000, 8000, 8000, 16_000)))
    assert [committed for committed, _ in shown] == ["", "", "", "same tex"]


def test_agreement_begins_anew_where_text_changed() -> None:
    transcript = Transcript(agreement=3, hold_back=0)
    shown = told(transcript, Said("the cat", 1), Said("the cat", 2), Said("the cut is", 3), Said("the cut is", 4))
    assert shown[2] == ("the c", "ut is")
    assert shown[3] == ("the c", "ut is")


def test_hold_back_counts_audio_since_the_text_first_appeared() -> None:
    transcript = Transcript(agreement=1, hold_back=8000)
    assert told(transcript, Said("one", 8000), Said("one two", 15_999), Said("one two", 16_000)) == [
        ("", "one"),
        ("", "one two"),
        ("one", " two"),
    ]


def test_committed_text_survives_a_contradiction_and_the_rest_is_aligned() -> None:
    transcript = Transcript(agreement=2, hold_back=0)
    told(transcript, Said("i scream for", 1), Said("i scream for", 2))
    assert transcript.committed == "i scream fo"
    assert told(transcript, Said("ice cream for all of us", 3)) == [("i scream for", " all of us")]
    assert transcript.contradicted_by("ice cream for all of us")
    assert not transcript.contradicted_by("i scream for all of us")


@pytest.mark.parametrize(
    ("committed", "text", "tentative"),
    [
        ("hello word", "hello world how are", " how are"),
        ("hello word", "", ""),
        ("hello word", "hello", ""),
        ("hello ", "hullo there", "there"),
        ("你好世", "你号世界和平", "界和平"),
        ("a b c", "x a b c d", " d"),
    ],
)
def test_alignment_after_a_contradiction(committed: str, text: str, tentative: str) -> None:
    transcript = Transcript(agreement=2, hold_back=0)
    told(transcript, Said(committed + "#", 1), Said(committed + "#", 2))
    assert transcript.committed == committed
    assert told(transcript, Said(text, 3)) == [(committed, tentative)]


def test_after_a_contradiction_commits_go_on() -> None:
    transcript = Transcript(agreement=2, hold_back=0)
    told(transcript, Said("see you#", 1), Said("see you#", 2))
    shown = told(transcript, Said("sea you tomorrow", 3), Said("sea you tomorrow then", 4))
    assert shown[-1] == ("see you tomorrow", " then")


def test_a_contradicted_final_is_told_by_its_text_alone() -> None:
    transcript = Transcript(agreement=1, hold_back=0)
    told(transcript, Said(" spaced out ", 1))
    assert transcript.committed == "spaced out"
    assert not transcript.contradicted_by(" spaced out")


def test_incomplete_bytes_are_not_shown() -> None:
    transcript = Transcript(agreement=1, hold_back=0)
    assert told(transcript, Said("你好\ufffd", 1), Said("你好吗\ufffd\ufffd", 2)) == [("你", "好"), ("你好", "吗")]


def test_revision_rises_only_with_a_change() -> None:
    transcript = Transcript(agreement=1, hold_back=0)
    assert [transcript.receive(Said(text, 1)) for text in ("", "a", "a", "ab")] == [True, True, False, True]
    assert transcript.revision == 3
    assert transcript.receive(Said("ab", 2, language="French"))


ALPHABET = st.text(st.sampled_from("ab e\u0301\U0001f44d\U0001f3fd\u200d你\ufffd"), max_size=12)


@given(st.lists(ALPHABET, max_size=12), st.integers(1, 3), st.integers(0, 3))
def test_committed_only_grows_and_never_splits_a_character(texts: list[str], agreement: int, hold_back: int) -> None:
    transcript = Transcript(agreement=agreement, hold_back=hold_back)
    before = ""
    for index, text in enumerate(texts):
        transcript.receive(Said(text, index))
        committed = transcript.committed
        assert committed.startswith(before)
        assert is_boundary(committed + transcript.tentative, len(committed))
        before = committed


@given(st.lists(ALPHABET, min_size=3, max_size=12))
def test_what_is_committed_was_said_by_the_last_hypotheses_unless_committed_before(texts: list[str]) -> None:
    transcript = Transcript(agreement=3, hold_back=0)
    seen: list[str] = []
    for index, text in enumerate(texts):
        before = transcript.committed
        transcript.receive(Said(text, index))
        seen.append(text.lstrip().rstrip("\ufffd"))
        if before == "" and transcript.committed:
            assert all(each.startswith(transcript.committed) for each in seen[-3:])
