"""The training forward computes what the serving code computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.train_tiny.architecture import BINS, config_values, write_checkpoint
from scripts.train_tiny.augment import FeatureMaker
from scripts.train_tiny.examples import Prompt
from scripts.train_tiny.model import AttentionPlan, Batch, TrainingModel
from scripts.train_tiny.phonemes import Pronunciations
from scripts.train_tiny.vocabulary import load_vocabulary, write_vocabulary
from steno.models.config import parse_config
from steno.models.prompt import Prompt as ServingPrompt
from steno.models.recognizer import Recognizer
from steno.models.tokenizer import Tokenizer

TEXTS = ["system\n", "user\n", "assistant\n", "language English", "one two three", "a b c", "latte, milk"] * 20

PHONEMES = 20


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(TEXTS, folder, 300)
    return folder


@pytest.fixture(scope="module")
def model(vocabulary: Path) -> TrainingModel:
    torch.manual_seed(1)
    return TrainingModel(parse_config(config_values(load_vocabulary(vocabulary))), PHONEMES).eval()


def _noise(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    rng = np.random.default_rng(3)
    return (0.1 * rng.standard_normal(int(seconds * 16_000))).astype(np.float32)


@pytest.mark.parametrize("mode", ["rolling", "window"])
@pytest.mark.parametrize("seconds", [1, 2, 4])
def test_audio_embeddings_in_padded_batches(
    model: TrainingModel, vocabulary: Path, tmp_path: Path, mode: str, seconds: int
) -> None:
    write_checkpoint(tmp_path, vocabulary, load_vocabulary(vocabulary), model.network.state_dict())
    recognizer = Recognizer.load(tmp_path, window_s=seconds, attention=mode, progress=False)  # type: ignore[arg-type]
    rounded = TrainingModel(model.config, PHONEMES).eval()
    rounded.network.load_state_dict(recognizer.network.state_dict())  # bfloat16 on disk
    clips = [_noise(0.7), _noise(2.0), _noise(5.3)]
    maker = FeatureMaker(BINS)
    features = [maker.plain(clip) for clip in clips]
    padded = torch.zeros(3, BINS, 600)
    for row, feature in zip(padded, features, strict=True):
        row[:, : feature.shape[1]] = feature
    tokens = torch.tensor([model.config.encoder.tokens(f.shape[1]) for f in features])
    with torch.inference_mode():
        batched = rounded.encode(padded, tokens, AttentionPlan(mode, seconds)).audio  # type: ignore[arg-type]
    for row, count, clip in zip(batched, tokens.tolist(), clips, strict=True):
        torch.testing.assert_close(row[:count], recognizer.encode(clip), atol=2e-4, rtol=1e-3)


def test_greedy_text_of_the_training_forward_is_the_recognizers(
    model: TrainingModel, vocabulary: Path, tmp_path: Path
) -> None:
    tokenizer = load_vocabulary(vocabulary)
    write_checkpoint(tmp_path, vocabulary, tokenizer, model.network.state_dict())
    recognizer = Recognizer.load(tmp_path, progress=False)
    rounded = TrainingModel(model.config, PHONEMES).eval()
    rounded.network.load_state_dict(recognizer.network.state_dict())
    clip = _noise(1.3)
    answer = recognizer.transcribe(clip, max_new_tokens=6)
    features = FeatureMaker(BINS).plain(clip)
    count = torch.tensor([model.config.encoder.tokens(features.shape[1])])
    ids = Prompt(tokenizer, ["none"], Pronunciations({})).head(int(count))
    with torch.inference_mode():
        padded = torch.nn.functional.pad(features, (0, 200 - features.shape[1]))[None]
        audio = rounded.encode(padded, count, AttentionPlan("rolling", 4)).audio
        for _ in range(6):
            states = rounded.decode(torch.tensor([ids]), audio, count).states
            ids.append(int(rounded.network.logits(states[0, -1]).argmax()))
    assert tuple(ids[-6:]) == answer.token_ids


@pytest.mark.parametrize(("context", "language"), [("", None), ("latte, milk", "English")])
def test_prompts_are_the_serving_prompts(vocabulary: Path, context: str, language: str | None) -> None:
    tokenizer = load_vocabulary(vocabulary)
    config = parse_config(config_values(tokenizer))
    serving = ServingPrompt(Tokenizer.load(vocabulary), config)
    expected = [*serving.head(context), *[config.audio_token_id] * 7, *serving.suffix(language)]
    assert Prompt(tokenizer, ["none"], Pronunciations({})).head(7, context, language) == expected


def test_pooled_loss_falls_when_the_right_word_rises(model: TrainingModel) -> None:
    batch = Batch(
        torch.zeros(1, BINS, 100),
        torch.tensor([5]),
        torch.zeros(1, 1, dtype=torch.int64),
        torch.zeros(1, 1, dtype=torch.int64),
        torch.tensor([7]),
        torch.tensor([1]),
        torch.zeros(0, dtype=torch.int64),
        torch.tensor([-1]),
        torch.zeros(1, 39, dtype=torch.int64),
        torch.full((1, 1), -1),
        torch.tensor([-1]),
    )
    raw = torch.zeros(1, 13, model.blank + 1)
    right = raw.clone()
    right[0, 2, 7] = 4.0
    behind = raw.clone()
    behind[0, 9, 7] = 4.0  # after the clip's end: must not count
    assert model._pooled(right, batch) < model._pooled(raw, batch)
    assert model._pooled(behind, batch) == model._pooled(raw, batch)
