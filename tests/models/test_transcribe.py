"""Offline transcription of recordings gives the ids of `transformers`, one by one and in unequal batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from steno.models.recognizer import Recognizer
from tests.audio_clips import LENGTHS_S, clip
from tests.models.reference import Reference
from tests.tiny import SHAPES, tiny_checkpoint

STEPS = 16  # shorter than any loop that would be cut
PROMPTS = [("", None), ("Aldus; 早上好", None), ("", "English"), ("Aldus, Gutenberg", "Chinese")]


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=["small", "three-layers"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp(request.param)
    size = SHAPES[request.param]
    return tiny_checkpoint(root / "official", size), tiny_checkpoint(root / "native", size, "native")


@pytest.mark.parametrize(("context", "language"), PROMPTS)
def test_ids_equal_the_reference(folders: tuple[Path, Path], context: str, language: str | None) -> None:
    recognizer, reference = Recognizer.load(folders[0]), Reference(folders[1])
    clips = [clip(length_s) for length_s in LENGTHS_S]
    batch = recognizer.transcribe(clips, language=language, context=context, max_new_tokens=STEPS)
    for samples, together in zip(clips, batch, strict=True):
        alone = recognizer.transcribe(samples, language=language, context=context, max_new_tokens=STEPS)
        expected = reference.greedy(samples, STEPS, context, language).ids
        assert list(alone.token_ids) == expected
        assert alone.truncated == (len(expected) == STEPS)
        assert (together.token_ids, together.text) == (alone.token_ids, alone.text)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers(folders: tuple[Path, Path], dtype: torch.dtype) -> None:
    recognizer = Recognizer.load(folders[0], dtype=dtype)
    answers = recognizer.transcribe([clip(9.1), clip(0.73)], max_new_tokens=STEPS)
    assert all(answer.token_ids for answer in answers)
    assert all(math.isfinite(logprob) for answer in answers for logprob in answer.logprobs)
