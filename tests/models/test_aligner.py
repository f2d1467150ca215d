"""The forced aligner's logits, units and repaired stamps equal those of `transformers`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3ASRProcessor
from transformers.models.qwen3_asr.processing_qwen3_asr import _fix_timestamps

from scripts.make_checkpoint import Layout
from steno.models.aligner import LANGUAGES, ForcedAligner, alignment_units, repair
from steno.models.languages import CODES
from steno.models.recognizer import Recognizer
from tests.audio_clips import clip
from tests.models.reference import AlignerReference
from tests.tiny import ALIGNER, tiny_checkpoint

TEXT = "Printing, in the only sense with which we're concerned: 你好 3.5% e-mail"


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("aligner") / "native", ALIGNER, "native")


@pytest.fixture(scope="module", params=["official", "native"])
def aligner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ForcedAligner:
    layout: Layout = request.param
    return ForcedAligner.load(tiny_checkpoint(tmp_path_factory.mktemp("aligner") / layout, ALIGNER, layout))


@pytest.mark.parametrize("length_s", [0.3, 0.73, 5.0, 9.3])
def test_logits_and_stamps_equal_the_reference(aligner: ForcedAligner, native: Path, length_s: float) -> None:
    samples, units = clip(length_s), list(alignment_units(TEXT))
    expected = AlignerReference(native).logits(samples, units)
    ours = aligner.logits(samples, units)
    assert ours.shape == expected.shape == (2 * len(units), 120)
    assert (ours - expected).abs().max() <= 1e-4
    stamps = np.array([80.0 * value for value in expected.argmax(-1).tolist()])
    assert aligner.stamps_ms(samples, units) == _fix_timestamps(stamps)


def test_words_lie_in_order_within_the_clip(aligner: ForcedAligner) -> None:
    samples = clip(3.0)
    words = aligner.align(samples, TEXT)
    assert [word.text for word in words] == list(alignment_units(TEXT))
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] <= edges[-1] <= samples.size


def test_a_text_without_letters_has_no_words(aligner: ForcedAligner) -> None:
    assert aligner.align(clip(1.0), " ... !") == []


def test_audio_beyond_the_time_classes_is_refused(aligner: ForcedAligner) -> None:
    with pytest.raises(ValueError, match=r"9\.7 s of audio: .* aligns at most 10 s"):
        aligner.align(clip(9.7), "too long")


def test_checkpoints_of_the_other_kind_are_refused(native: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a forced aligner: expected a speech recognition checkpoint"):
        Recognizer.load(native)
    with pytest.raises(ValueError, match="is a speech recognition checkpoint: expected a forced aligner"):
        ForcedAligner.load(tiny_checkpoint(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "",
        "  ",
        "don't — stop",
        "今天天气 good啊abc",
        "E-Mail: größer, naïve!",
        "Привет, мир",
        "①② x² 〇",
        "ひらがな漢字カナ",
    ],
)
def test_units_equal_the_reference(text: str) -> None:
    assert list(alignment_units(text)) == Qwen3ASRProcessor.split_words_for_alignment(None, text)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([80, 4000, 160, 240], [80, 80, 160, 240]),
        ([500, 80, 160], [80, 80, 160]),
        ([80, 160, 240, 320, 0, 0, 0, 800, 880], [80, 160, 240, 320, 440, 560, 680, 800, 880]),
        ([80], [80]),
        ([], []),
    ],
)
def test_known_repairs(stamps: list[int], expected: list[int]) -> None:
    assert repair(stamps) == expected


@pytest.mark.parametrize("seed", range(200))
def test_repairs_equal_the_reference(seed: int) -> None:
    generator = random.Random(seed)
    rising = sorted(generator.randrange(0, 60) for _ in range(generator.randrange(1, 40)))
    stamps = [80 * (generator.randrange(0, 60) if generator.random() < 0.3 else value) for value in rising]
    assert repair(stamps) == _fix_timestamps(np.array(stamps, dtype=np.float64))
    assert repair(stamps) == sorted(repair(stamps))


def test_aligner_languages_are_languages() -> None:
    assert set(LANGUAGES) < set(CODES)
