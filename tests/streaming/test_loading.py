"""From options to an engine with real (random, tiny) models: a recognizer, with or without an aligner beside it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from steno.models.recognizer import Recognizer
from steno.models.slot_pool import SlotPool
from steno.streaming.config import EngineOptions
from steno.streaming.loading import load_engine, paced_for
from steno.streaming.metrics import Metrics
from steno.streaming.work import FeedAudio, Finish, HypothesisReady, OpenStream, Result
from tests.tiny import ALIGNER, tiny_checkpoint


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("recognizer")))


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("aligner"), ALIGNER))


def options(recognizer: str, aligner: str | None = None) -> EngineOptions:
    return EngineOptions(model=recognizer, aligner=aligner, device="cpu", dtype="float32", warm_up=False)


def finals(options: EngineOptions) -> list[Result]:
    """One second of noise through the engine, turned by hand."""
    engine = load_engine(options, Metrics()).engine
    results: list[Result] = []
    door = engine.connect(results.append)
    noise = (np.random.default_rng(5).standard_normal(16_000) * 0.1).astype(np.float32)
    door.submit([OpenStream(0, "English", (), "", words=True), FeedAudio(0, noise), Finish(0)])
    while not results:
        engine.turn()
    return results


def test_the_model_says_what_it_is(recognizer: str) -> None:
    loaded = load_engine(options(recognizer), Metrics())
    assert loaded.model == recognizer
    assert loaded.device == "cpu"
    assert "English" in loaded.languages
    assert loaded.language_codes["en"] == "English"
    assert not loaded.aligner


def test_an_aligner_gives_finals_their_words(recognizer: str, aligner: str) -> None:
    assert load_engine(options(recognizer, aligner), Metrics()).aligner
    (result,) = finals(options(recognizer, aligner))
    assert isinstance(result, HypothesisReady)
    assert result.hypothesis.final
    assert result.words is not None
    assert all(0 <= word.start <= word.end <= 16_000 for word in result.words)


def test_without_an_aligner_there_are_no_words(recognizer: str) -> None:
    (result,) = finals(options(recognizer))
    assert isinstance(result, HypothesisReady)
    assert result.words is None


def test_memory_is_checked_before_a_model_is_loaded() -> None:
    with pytest.raises(ValueError, match="memory is '8', expected a number and a unit"):
        load_engine(EngineOptions(model="./nowhere", memory="8"), Metrics())


def test_an_accelerator_takes_larger_batches_in_less_time(recognizer: str) -> None:
    loaded = Recognizer.load(recognizer)
    assert paced_for(EngineOptions(), loaded) == EngineOptions()
    pool = SlotPool(loaded.network.config.decoder, 4, dtype=torch.float32, device="cpu")
    slotted = Recognizer(loaded.network, loaded.tokenizer, name="slotted", pool=pool)
    assert paced_for(EngineOptions(), slotted) == EngineOptions(max_batch=128, step_budget_ms=100)
    assert paced_for(EngineOptions(max_batch=7), slotted).max_batch == 7


def test_models_in_the_wrong_place_are_named(recognizer: str, aligner: str) -> None:
    with pytest.raises(ValueError, match="expected a forced aligner"):
        load_engine(options(recognizer, recognizer), Metrics())
    with pytest.raises(ValueError, match="expected a speech recognition checkpoint"):
        load_engine(options(aligner), Metrics())
    with pytest.raises(ValueError, match="nowhere"):
        load_engine(options("./nowhere"), Metrics())


def test_window_and_context_limit_reach_the_recognizer(recognizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, object]] = []
    load = Recognizer.load

    def noting(*args: Any, **values: Any) -> Recognizer:
        asked.append((values["window_s"], values["context_limit_s"]))
        return load(*args, **values)

    monkeypatch.setattr(Recognizer, "load", noting)
    load_engine(replace(options(recognizer), window_s=2, context_limit_s=16), Metrics())
    assert asked == [(2, 16)]
