"""A limit of the context bounds what an update computes, and loses or doubles nothing of what was said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.scripted_speech import TOKENS_PER_SECOND, Script, script_for, speech
from steno.models.config import AttentionMode
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.recognizer import Hypothesis, Recognizer, StreamState
from tests.tiny import tiny_checkpoint

MODES: tuple[AttentionMode, ...] = ("window", "rolling")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def _update(
    recognizer: Recognizer, stream: StreamState, samples: Samples, *, final: bool = False
) -> tuple[Hypothesis, int]:
    """One step; its hypothesis and how many tokens the decoder ran."""
    before = _computed(stream)
    recognizer.feed(stream, samples, final=final)
    (hypothesis,) = recognizer.step([stream])
    return hypothesis, _computed(stream) - before


def _computed(stream: StreamState) -> int:
    return stream.counters.prefilled + stream.counters.offered + stream.counters.decoded


def _scripted(recognizer: Recognizer, seconds: int) -> tuple[list[Hypothesis], list[int], Script, StreamState]:
    """Hypotheses and costs of updates each second, and the script that they say.

    A loud click in the first chunk fixes the floor of the features, so that nothing is computed again for its sake.
    """
    audio = speech(seconds) * np.float32(0.5)
    audio[1600:1700] = 1.0
    script, stream = script_for(recognizer), recognizer.open()
    hypotheses, costs = [], []
    for second in range(1, seconds + 1):
        samples, final = audio[(second - 1) * SAMPLE_RATE : second * SAMPLE_RATE], second == seconds
        script.direct(stream, second, final=final)
        hypothesis, cost = _update(recognizer, stream, samples, final=final)
        hypotheses.append(hypothesis)
        costs.append(cost)
    recognizer.close(stream)
    return hypotheses, costs, script, stream


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window_s", [1, 8])
def test_text_stays_whole_and_updates_bounded(checkpoint: Path, mode: AttentionMode, window_s: int) -> None:
    recognizer = Recognizer.load(checkpoint, attention=mode, window_s=window_s, context_limit_s=12)
    hypotheses, costs, script, stream = _scripted(recognizer, 60)
    for second, hypothesis in enumerate(hypotheses, start=1):
        heard = script.said(second, final=second == 60) if hypothesis.samples_seen else []
        assert list(hypothesis.token_ids) == heard
        assert len(hypothesis.token_ids) == len(hypothesis.logprobs) == len(hypothesis.token_ends)
    assert stream.context_start >= 44 * SAMPLE_RATE
    assert max(costs[30:]) <= max(costs[:30])
    unlimited = _scripted(Recognizer.load(checkpoint, attention=mode, window_s=window_s), 60)
    assert sum(costs) < 0.7 * sum(unlimited[1])
    assert unlimited[0][-1].token_ids == hypotheses[-1].token_ids


@pytest.mark.parametrize("mode", MODES)
def test_below_the_limit_nothing_differs(checkpoint: Path, mode: AttentionMode) -> None:
    samples = speech(12.0)
    finals = []
    for limit_s in (None, 12):
        recognizer = Recognizer.load(checkpoint, attention=mode, window_s=2, context_limit_s=limit_s)
        stream = recognizer.open()
        for part in np.array_split(samples, 9):
            recognizer.feed(stream, part)
            recognizer.step([stream])
        finals.append(_update(recognizer, stream, samples[:0], final=True)[0].token_ids)
    assert finals[0] == finals[1]


def test_offline_transcription_knows_no_limit(checkpoint: Path) -> None:
    samples = speech(30.0)
    limited = Recognizer.load(checkpoint, window_s=2, context_limit_s=8).transcribe(samples)
    assert limited.token_ids == Recognizer.load(checkpoint, window_s=2).transcribe(samples).token_ids


def test_audio_that_was_dropped_is_not_encoded_again(checkpoint: Path) -> None:
    """A late loud sound dirties all windows; those in the context are redone, no others."""
    samples = speech(24.0) * np.float32(0.001)
    samples[-SAMPLE_RATE:] *= 1000
    redone = {}
    for limit_s in (None, 8):
        recognizer = Recognizer.load(checkpoint, attention="window", window_s=2, context_limit_s=limit_s)
        stream = recognizer.open()
        for part in np.array_split(samples, 12):
            recognizer.feed(stream, part)
            recognizer.step([stream])
        _update(recognizer, stream, samples[:0], final=True)
        redone[limit_s] = stream.encoder_counters.dirty_windows
    assert redone[None] > 8
    assert 0 < redone[8] <= 5


def test_pins_count_the_frozen_text(checkpoint: Path) -> None:
    recognizer = Recognizer.load(checkpoint, window_s=2, context_limit_s=8)
    script, stream = script_for(recognizer), recognizer.open()
    audio = speech(20.0)
    for second in range(2, 21, 2):
        script.direct(stream, second, final=False)
        (hypothesis, _) = _update(recognizer, stream, audio[(second - 2) * SAMPLE_RATE : second * SAMPLE_RATE])
    assert stream.frozen.tokens
    recognizer.pin(stream, 19 * TOKENS_PER_SECOND)
    with pytest.raises(ValueError, match=r"cannot pin 3 tokens: expected 76 to 80"):
        recognizer.pin(stream, 3)
    stream.allowed = None
    after, _ = _update(recognizer, stream, audio[:SAMPLE_RATE])
    assert after.token_ids[:76] == hypothesis.token_ids[:76]


@pytest.mark.parametrize("limit_s", [0, 7])
def test_shorter_limits_are_refused(checkpoint: Path, limit_s: int) -> None:
    with pytest.raises(ValueError, match=rf"context_limit_s is {limit_s}: expected at least 8"):
        Recognizer.load(checkpoint, context_limit_s=limit_s)
