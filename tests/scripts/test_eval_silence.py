"""The sounds of scripts/eval_silence are what they are called, and what a session makes of them is counted."""

import numpy as np

from scripts.eval_silence import hear, sounds
from steno.models.recognizer import Recognizer
from tests.audio_clips import clip

SECOND = 16_000


def test_sounds_have_their_length_and_level() -> None:
    made = {name: make() for name, make in sounds(5).items()}
    assert {len(samples) for samples in made.values()} == {5 * SECOND}
    assert {samples.dtype for samples in made.values()} == {np.dtype(np.float32)}
    levels = {name: float(np.sqrt(np.mean(samples**2))) for name, samples in made.items()}
    assert levels["digital silence"] == 0
    assert np.isclose(levels["white noise, -20 dB"], 0.1, rtol=0.05)
    assert np.isclose(levels["held tone"], 0.1 / np.sqrt(2), rtol=0.05)
    assert max(float(np.abs(samples).max()) for samples in made.values()) < 1


def test_silence_is_no_segment_and_speech_is_one() -> None:
    recognizer = Recognizer.load("tiny")
    assert hear(recognizer, np.zeros(5 * SECOND, np.float32)) == ([], [])
    pause = np.zeros(SECOND, np.float32)
    lengths_s, texts = hear(recognizer, np.concatenate((pause, clip(2.0), pause, pause)))
    assert len(lengths_s) == len(texts) == 1
    assert 1.5 < lengths_s[0] < 3.5
