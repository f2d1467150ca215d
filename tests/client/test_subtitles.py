"""Subtitles: line lengths in every script, times that never overlap, and the two formats to the letter."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno.client.subtitles import LINE_COLUMNS, cues, to_json, to_srt, to_text, to_vtt
from steno.streaming.protocol import Final, Word

ENGLISH = (
    "Printing, in the only sense with which we are at present concerned, differs from most if not from all the "
    "arts and crafts represented in the exhibition in being comparatively modern. For although the Chinese took "
    "impressions from wood blocks engraved in relief for centuries before the woodcutters of the Netherlands."
)
CHINESE = "今天天气很好，我们一起去公园散步吧。公园里有很多人在锻炼身体，也有孩子们在玩耍，笑声不断。" * 2


def final(text: str, start_ms: int = 0, end_ms: int = 9000, words: tuple[Word, ...] | None = None) -> Final:
    return Final(segment=0, text=text, language="English", start_ms=start_ms, end_ms=end_ms, words=words)


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def test_a_short_final_is_one_cue_of_one_line() -> None:
    (cue,) = cues([final("Hello there.", 1200, 3400)])
    assert (cue.start_ms, cue.end_ms, cue.lines) == (1200, 3400, ("Hello there.",))


def test_a_long_final_becomes_cues_of_two_lines_that_fit() -> None:
    made = cues([final(ENGLISH, 0, 18_000)])
    assert len(made) >= 4
    assert all(1 <= len(cue.lines) <= 2 for cue in made)
    assert all(columns(line) <= LINE_COLUMNS for cue in made for line in cue.lines)
    assert " ".join(line for cue in made for line in cue.lines) == ENGLISH


def test_cues_of_one_final_cover_it_without_gap_or_overlap() -> None:
    made = cues([final(ENGLISH, 500, 18_000)])
    assert made[0].start_ms == 500
    assert made[-1].end_ms == 18_000
    assert all(a.end_ms == b.start_ms for a, b in zip(made, made[1:], strict=False))


def test_a_cue_ends_with_its_sentence_when_that_is_near() -> None:
    made = cues([final(ENGLISH)])
    assert any(cue.lines[-1].endswith("comparatively modern.") for cue in made)


def test_two_lines_are_balanced() -> None:
    (cue,) = cues([final("The quick brown fox jumps over the lazy dog and sleeps")])
    assert cue.lines == ("The quick brown fox jumps", "over the lazy dog and sleeps")


def test_chinese_breaks_between_characters_and_keeps_punctuation_off_the_line_start() -> None:
    made = cues([final(CHINESE)])
    lines = [line for cue in made for line in cue.lines]
    assert "".join(lines) == CHINESE
    assert all(columns(line) <= LINE_COLUMNS for line in lines)
    assert not any(line[0] in "，。" for line in lines)


def test_korean_breaks_at_its_spaces() -> None:
    text = "오늘은 날씨가 아주 좋아서 우리는 함께 공원에 산책하러 갔습니다 그리고 점심도 먹었습니다"
    lines = [line for cue in cues([final(text)]) for line in cue.lines]
    assert " ".join(lines) == text


def test_a_word_longer_than_a_line_is_cut() -> None:
    lines = [line for cue in cues([final("x" * 200)]) for line in cue.lines]
    assert "".join(lines) == "x" * 200
    assert max(map(len, lines)) == LINE_COLUMNS


def test_word_times_place_the_cues_where_the_words_are() -> None:
    said = ENGLISH.split()
    # A long pause in the middle: shared-out time would put the second half far too early.
    words = tuple(
        Word(text=w, start_ms=i * 100 + (i > 20) * 20_000, end_ms=i * 100 + 90 + (i > 20) * 20_000)
        for i, w in enumerate(said)
    )
    made = cues([final(ENGLISH, 0, words[-1].end_ms, words)])
    spoken = 0
    for cue in made:
        assert abs(cue.start_ms - words[spoken].start_ms) <= 200
        spoken += len(" ".join(cue.lines).split())


def test_a_flash_is_held_for_a_second_but_never_into_the_next_cue() -> None:
    made = cues([final("Yes.", 0, 300), final("No.", 700, 900), final("Maybe.", 5000, 5200)])
    assert [(cue.start_ms, cue.end_ms) for cue in made] == [(0, 700), (700, 1700), (5000, 6000)]


def test_finals_without_text_give_nothing() -> None:
    empty = [final(""), final("   ")]
    assert cues(empty) == []
    assert to_srt(empty) == ""
    assert to_vtt(empty) == "WEBVTT\n\n"
    assert to_text(empty) == ""


def test_srt_to_the_letter() -> None:
    written = to_srt([final("One.", 0, 1500), final("Two & <three>.", 3_725_042, 3_727_000)])
    assert written == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n"
        "2\n01:02:05,042 --> 01:02:07,000\nTwo & <three>.\n\n"
    )  # fmt: skip


def test_vtt_to_the_letter() -> None:
    assert to_vtt([final("Two & <three>.", 61_042, 63_000)]) == (
        "WEBVTT\n\n00:01:01.042 --> 00:01:03.000\nTwo &amp; &lt;three&gt;.\n\n"
    )


def test_text_is_a_line_for_each_final() -> None:
    assert to_text([final(" One. "), final(""), final("Two.")]) == "One.\nTwo.\n"


def test_json_has_every_field_of_the_finals() -> None:
    said = final("One.", 10, 900, words=(Word(text="One", start_ms=20, end_ms=700),))
    assert json.loads(to_json([said]))["segments"] == [
        {
            "type": "final",
            "segment": 0,
            "text": "One.",
            "language": "English",
            "start_ms": 10,
            "end_ms": 900,
            "words": [{"text": "One", "start_ms": 20, "end_ms": 700}],
        }
    ]


spoken_text = st.text(st.sampled_from("abc déß中文，。한국 .!?-'\u0301😀"), max_size=300)


@given(st.lists(st.tuples(spoken_text, st.integers(0, 2000), st.integers(0, 9000)), max_size=5))
def test_any_text_keeps_its_characters_its_order_and_its_bounds(parts: list[tuple[str, int, int]]) -> None:
    finals, now_ms = [], 0
    for text, pause_ms, length_ms in parts:
        finals.append(final(text, now_ms + pause_ms, now_ms + pause_ms + length_ms))
        now_ms += pause_ms + length_ms
    made = cues(finals)
    written = "".join(line for cue in made for line in cue.lines)
    assert re.sub(r"\s", "", written) == re.sub(r"\s", "", "".join(f.text for f in finals))
    assert all(len(cue.lines) <= 2 and all(cue.lines) for cue in made)
    assert all(cue.start_ms <= cue.end_ms for cue in made)
    assert all(a.end_ms <= b.start_ms for a, b in zip(made, made[1:], strict=False))


@pytest.mark.parametrize("instant_ms", [0, 999, 1000, 3_599_999, 360_000_000])
def test_clock_times_parse_back(instant_ms: int) -> None:
    (match,) = re.finditer(r"(\d+):(\d\d):(\d\d),(\d{3}) -->", to_srt([final("a", instant_ms, instant_ms)]))
    hours, minutes, seconds, milliseconds = map(int, match.groups())
    assert ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds == instant_ms
