"""Splits: speakers apart, seeded, and complete."""

import pytest

from scripts.train_tiny.splits import Clip, assign


def _clips(source: str, speakers: int, each: int) -> list[Clip]:
    return [
        Clip(f"{source}/{s}-{i}", source, f"{source}:{s}", f"text {i}") for s in range(speakers) for i in range(each)
    ]


@pytest.mark.parametrize("source", ["alnum", "pv-intent"])
def test_no_speaker_is_in_two_splits(source: str) -> None:
    clips = _clips(source, 20, 4)
    split = assign(clips, seed=4)
    found = {clip.speaker: {split[c.path] for c in clips if c.speaker == clip.speaker} for clip in clips}
    assert all(len(splits) == 1 for splits in found.values())
    assert set(split.values()) == {"train", "dev", "test"}


def test_the_largest_speaker_stays_in_train() -> None:
    big = [Clip(f"pv-intent/big-{i}", "pv-intent", "pv-intent:big", "text") for i in range(50)]
    split = assign([*_clips("pv-intent", 12, 3), *big], seed=1)
    assert {split[clip.path] for clip in big} == {"train"}


def test_held_out_people_are_only_tested() -> None:
    clips = [Clip(f"fsdd/{s}-{i}", "fsdd", f"fsdd:{s}", "one") for s in ("theo", "jackson") for i in range(50)]
    split = assign(clips, seed=4)
    assert {split[c.path] for c in clips if c.speaker == "fsdd:theo"} == {"test"}
    assert "test" not in {split[c.path] for c in clips if c.speaker == "fsdd:jackson"}


def test_equal_texts_of_one_voice_stay_together() -> None:
    clips = [Clip(f"asterisk-en/{i}", "asterisk-en", "voice", f"text {i % 40}") for i in range(400)]
    split = assign(clips, seed=4)
    by_text = {c.text: {split[d.path] for d in clips if d.text == c.text} for c in clips}
    assert all(len(splits) == 1 for splits in by_text.values())


def test_same_seed_same_split_and_unknown_source_is_an_error() -> None:
    clips = _clips("pv-wake", 1, 100)
    assert assign(clips, seed=4) == assign(clips, seed=4)
    assert assign(clips, seed=4) != assign(clips, seed=5)
    with pytest.raises(ValueError, match="elsewhere"):
        assign([Clip("elsewhere/1", "elsewhere", "s", "t")], seed=4)
