"""Mel, encoder, step logits and greedy ids equal those of `transformers`: random weights, real speech, float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from steno.models.checkpoint import load_network
from steno.models.decoder import Row
from steno.models.kv_cache import KVCache
from steno.models.mel import MelTransform, log_mel
from tests.audio_clips import LENGTHS_S, clip
from tests.models.ours import Ours
from tests.models.reference import Reference, features
from tests.tiny import SHAPES, tiny_checkpoint

MEL_TOLERANCE, ENCODER_TOLERANCE, LOGITS_TOLERANCE = 1e-6, 1e-5, 1e-4
STEPS = 12
CONTEXT = "Gutenberg, Aldus; 早上好"
PROMPTS = [("", None), (CONTEXT, None), ("", "English"), (CONTEXT, "Chinese")]


@dataclass(frozen=True, slots=True)
class Pair:
    ours: Ours
    reference: Reference


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Native and official folder of each shape; the native one without the tied head, the official one in shards."""
    root = tmp_path_factory.mktemp("checkpoints")
    found = {}
    for name, size in SHAPES.items():
        found[f"{name}/native"] = tiny_checkpoint(root / name / "native", size, "native", store_head=False)
        found[f"{name}/official"] = tiny_checkpoint(root / name / "official", size, "official", shards=3)
    return found


@pytest.fixture(scope="module", params=list(SHAPES))
def pair(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Pair:
    """Ours from the official layout, the reference from the native one."""
    name = request.param
    return Pair(Ours.load(folders[f"{name}/official"]), Reference(folders[f"{name}/native"]))


@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_mel_equals_the_reference(length_s: float) -> None:
    samples = clip(length_s)
    values, mask = features(samples)
    expected = values[0, :, : int(mask.sum())]
    ours = log_mel(samples, MelTransform.create())
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= MEL_TOLERANCE


@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_encoder_equals_the_reference(pair: Pair, length_s: float) -> None:
    samples = clip(length_s)
    ours, expected = pair.ours.encode(samples), pair.reference.encode(samples)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= ENCODER_TOLERANCE
    assert expected.std() > 0.1


@pytest.mark.parametrize(("context", "language"), PROMPTS)
@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_logits_and_ids_equal_the_reference(pair: Pair, length_s: float, context: str, language: str | None) -> None:
    samples = clip(length_s)
    greedy = pair.reference.greedy(samples, STEPS, context, language)
    ours = pair.ours.step_logits(samples, context, language, greedy.ids)[: greedy.logits.shape[0]]
    assert (ours - greedy.logits).abs().max() <= LOGITS_TOLERANCE
    assert ours.argmax(1)[: len(greedy.ids)].tolist() == greedy.ids


def test_the_plain_attention_kernel_gives_the_same(pair: Pair) -> None:
    """Windows and causality come from how rows are cut and masked, not from what a fused kernel honours."""
    samples = clip(20.4562)
    greedy = pair.reference.greedy(samples, STEPS)
    with sdpa_kernel(SDPBackend.MATH):
        encoded = pair.ours.encode(samples)
        logits = pair.ours.step_logits(samples, "", None, greedy.ids)[: greedy.logits.shape[0]]
    assert (encoded - pair.reference.encode(samples)).abs().max() <= ENCODER_TOLERANCE
    assert (logits - greedy.logits).abs().max() <= LOGITS_TOLERANCE


def test_unequal_clips_in_one_batch_are_encoded_as_alone(pair: Pair) -> None:
    clips = [clip(length) for length in (8.1, 0.73, 20.4562, 1.0)]
    transform = MelTransform.create()
    together = pair.ours.network.audio_tower([log_mel(samples, transform) for samples in clips])
    for samples, encoded in zip(clips, together, strict=True):
        assert (encoded - pair.reference.encode(samples)).abs().max() <= ENCODER_TOLERANCE


def test_unequal_rows_in_one_batch_are_decoded_as_alone(pair: Pair) -> None:
    clips = [clip(length) for length in (8.1, 0.73, 20.4562)]
    network = pair.ours.network
    cache = KVCache(network.config.decoder, dtype=torch.float32, device="cpu")
    questions = [pair.ours.question(samples, *prompt) for samples, prompt in zip(clips, PROMPTS, strict=False)]
    rows = [Row(cache.open(), question.shape[0]) for question in questions]
    greedy = [pair.reference.greedy(samples, STEPS, *prompt) for samples, prompt in zip(clips, PROMPTS, strict=False)]
    ends = torch.tensor([row.tokens for row in rows]).cumsum(0) - 1
    states = [network.model(torch.cat(questions), rows, cache)[ends]]
    for column in zip(*(answer.ids for answer in greedy), strict=False):
        states.append(network.model(pair.ours.embed(list(column)), [Row(row.slot, 1) for row in rows], cache))
    logits = network.logits(torch.stack(states, dim=1).flatten(0, 1)).unflatten(0, (len(rows), -1))
    for ours, answer in zip(logits, greedy, strict=True):
        steps = min(ours.shape[0], answer.logits.shape[0])
        assert (ours[:steps] - answer.logits[:steps]).abs().max() <= LOGITS_TOLERANCE


def test_both_layouts_hold_the_same_network(folders: dict[str, Path]) -> None:
    for name in SHAPES:
        native, official = (
            load_network(folders[f"{name}/{layout}"], device="cpu", dtype=torch.float32).state_dict()
            for layout in ("native", "official")
        )
        assert native.keys() == official.keys()
        assert all(torch.equal(native[key], official[key]) for key in native)


def test_answers_of_the_random_model_depend_on_what_it_hears(folders: dict[str, Path]) -> None:
    """Without this, equal ids would mean little."""
    reference = Reference(folders["small/native"])
    answers = {tuple(reference.greedy(clip(2.0, start), STEPS).ids) for start in (0.4, 3.0, 6.0, 9.0)}
    assert len(answers) > 1
    assert all(len(set(answer)) > 3 for answer in answers)
