"""Synthetic speech: phrases for synthesisers, and phoneme times that fit the audio."""

import ctypes.util
import random

import numpy as np
import pytest

from scripts.train_tiny import phrases, synthesis

needs_espeak = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="espeak-ng is not installed")


@needs_espeak
def test_phonemes_are_timed_within_the_audio() -> None:
    samples, phonemes = synthesis.render("seven", synthesis.Voice("espeak-ng", "en-us+f3", 1.0, 50))
    assert 0.3 * 16_000 < samples.size < 1.5 * 16_000
    assert [p for p, _ in phonemes if not p.startswith("_")] == ["s", "E", "v", "@", "n"]
    times = [at for _, at in phonemes]
    assert times == sorted(times)
    assert times[-1] <= samples.size
    start, end = times[1], times[2]  # the vowel is louder than the s before it
    assert np.abs(samples[start:end]).mean() > 2 * np.abs(samples[:start]).mean()


@needs_espeak
def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(ValueError, match="en-nowhere"):
        synthesis.render("seven", synthesis.Voice("espeak-ng", "en-nowhere", 1.0, 50))


def test_letters_are_read_by_name() -> None:
    assert phrases.spoken("s a m") == "S, A, M"
    assert phrases.spoken("can i have a latte") == "can i have a latte"


@pytest.mark.parametrize("kind", sorted(phrases.ENGLISH))
def test_phrases_are_in_the_written_form(kind: str) -> None:
    rng = random.Random(1)
    for _ in range(50):
        text = phrases.ENGLISH[kind][0](rng)
        assert text == " ".join(text.split())
        assert text
        assert text.replace("'", "").replace(" ", "").isalpha()
        assert text.islower()


def test_silence_around_speech_is_cut() -> None:
    samples = np.zeros(16_000, dtype=np.float32)
    samples[6_000:7_000] = 0.5
    assert synthesis.loud_span(samples) == (6_000 - 1_600, 7_000 + 1_600)
