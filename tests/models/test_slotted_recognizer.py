"""A recognizer over preallocated slots and the device's decoder gives what the growing cache and the host give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from steno.models.mel import SAMPLE_RATE
from steno.models.recognizer import CacheFull, Recognizer, StreamOptions
from steno.models.slot_pool import SlotPool
from tests.models.test_recognizer import SPEECH, random_recognizer
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def _slotted(plain: Recognizer, slots: int = 8) -> Recognizer:
    """Over the same weights."""
    pool = SlotPool(plain.network.config.decoder, slots, dtype=torch.float32, device="cpu")
    return Recognizer(plain.network, plain.tokenizer, name=plain.name, pool=pool)


@pytest.mark.parametrize("seed", range(3))
def test_every_hypothesis_of_live_streams_is_the_same(checkpoint: Path, seed: int) -> None:
    plain = random_recognizer(checkpoint, "window", seed)
    slotted = _slotted(plain)
    generator = np.random.default_rng(seed)
    options = [StreamOptions(), StreamOptions(language="English"), StreamOptions(languages=("English", "French"))]
    streams = [(plain.open(each), slotted.open(each)) for each in options]
    at = [int(generator.integers(0, SPEECH.size // 2)) for _ in streams]
    for turn in range(6):
        for index, pair in enumerate(streams):
            length = int(generator.uniform(0.1, 2.5) * SAMPLE_RATE)
            for recognizer, stream in zip((plain, slotted), pair, strict=True):
                recognizer.feed(stream, SPEECH[at[index] : at[index] + length], final=turn == 5)
            at[index] += length
        expected = plain.step([stream for stream, _ in streams])
        found = slotted.step([stream for _, stream in streams])
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours.token_ids, ours.text, ours.truncated, ours.final) == (
                theirs.token_ids,
                theirs.text,
                theirs.truncated,
                theirs.final,
            )
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=1e-3, atol=1e-4)
    assert any(hypothesis.token_ids for hypothesis in found)


def test_more_clips_than_slots_are_transcribed(checkpoint: Path) -> None:
    plain = random_recognizer(checkpoint, "window", 4)
    slotted = _slotted(plain, slots=2)
    clips = [SPEECH[: round(seconds * SAMPLE_RATE)] for seconds in (1.0, 3.0, 0.3, 2.0, 4.5)]
    expected = plain.transcribe(clips)
    found = slotted.transcribe(clips)
    assert [each.token_ids for each in found] == [each.token_ids for each in expected]
    assert slotted.open_streams == 0


def test_a_recording_longer_than_the_pool_is_cut(checkpoint: Path) -> None:
    slotted = _slotted(random_recognizer(checkpoint, "window", 5), slots=2)
    samples = np.resize(SPEECH, 60 * SAMPLE_RATE)
    found = slotted.transcribe(samples, max_new_tokens=4)
    assert found.duration_s == 60
    assert len(found.token_ids) > 4  # of more pieces than one


def test_the_last_slot_taken_is_told(checkpoint: Path) -> None:
    slotted = _slotted(random_recognizer(checkpoint, "window", 6), slots=2)
    first = slotted.open()
    slotted.open()
    with pytest.raises(CacheFull, match="all 2 slots"):
        slotted.open()
    slotted.close(first)
    slotted.open()
    assert slotted.slots == 2


def test_a_cap_on_memory_is_for_accelerators(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="memory is for an accelerator"):
        Recognizer.load(checkpoint, memory=2**33)


def test_a_device_that_is_not_there_is_told(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="device is 'cuda', but torch sees 0 CUDA devices"):
        Recognizer.load(checkpoint, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_float32_on_the_device_says_what_a_cpu_says(checkpoint: Path) -> None:
    clips = [SPEECH[: round(seconds * SAMPLE_RATE)] for seconds in (1.0, 3.0, 4.5)]
    on_cpu = Recognizer.load(checkpoint, dtype=torch.float32)
    on_device = Recognizer.load(checkpoint, device="cuda", dtype=torch.float32, memory=2**33)
    on_device.warm_up()
    expected, found = on_cpu.transcribe(clips), on_device.transcribe(clips)
    assert [each.token_ids for each in found] == [each.token_ids for each in expected]
