"""The numbers that `transformers` gave once for a stored checkpoint and stored speech (scripts/make_golden.py)."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steno.models.mel import MelTransform, Samples, log_mel
from tests.models.ours import Ours

GOLDEN = Path(__file__).parent.parent / "golden"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
MEL_TOLERANCE, ENCODER_TOLERANCE, LOGITS_TOLERANCE = 1e-5, 1e-4, 1e-3  # other machines add differently


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def samples() -> Samples:
    with wave.open(str(GOLDEN / "speech.wav")) as file:
        pcm = file.readframes(file.getnframes())
    return np.frombuffer(pcm, "<i2").astype(np.float32) * np.float32(1 / 32768)


@pytest.fixture(scope="module")
def ours() -> Ours:
    return Ours.load(GOLDEN / "checkpoint")


def test_mel(samples: Samples) -> None:
    mel = log_mel(samples, MelTransform.create())
    assert mel.shape == (128, EXPECTED["frames"])
    for frame, values in EXPECTED["mel"].items():
        assert (mel[:, int(frame)] - torch.tensor(values)).abs().max() <= MEL_TOLERANCE


def test_encoder(samples: Samples, ours: Ours) -> None:
    assert (ours.encode(samples) - torch.tensor(EXPECTED["encoder"])).abs().max() <= ENCODER_TOLERANCE


@pytest.mark.parametrize("answer", EXPECTED["answers"], ids=["plain", "context", "forced"])
def test_answers(samples: Samples, ours: Ours, answer: dict[str, Any]) -> None:
    logits = ours.step_logits(samples, answer["context"], answer["language"], answer["ids"])[: len(answer["ids"])]
    assert logits.argmax(1).tolist() == answer["ids"]
    steps = slice(0, len(answer["ids"]))
    assert (logits.max(1).values - torch.tensor(answer["best_logits"][steps])).abs().max() <= LOGITS_TOLERANCE
    assert (logits.logsumexp(1) - torch.tensor(answer["logsumexp"][steps])).abs().max() <= LOGITS_TOLERANCE
