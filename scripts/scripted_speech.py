"""Speech of any length with a text that is known beforehand: what random weights need to be timed like trained ones.

Random weights say nothing at no pace. A script puts its own tokens in the place of the model's choices, after the whole
pass and the search of the vocabulary were computed, so that a step costs what it would cost with real text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from steno.client.audio import read_audio
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.recognizer import Recognizer, StreamState

TOKENS_PER_SECOND = 4  # of English
REVISED = 2  # tokens at the end of each partial that the next one changes
FRAME_S = 0.02  # updates come with a frame of the VAD, not on the edge of a window to the sample
CLIP = Path(__file__).resolve().parent.parent / "tests" / "audio" / "lj_printing.opus"


def speech(seconds: float) -> Samples:
    """The clip, as often as needed."""
    samples = read_audio(CLIP)
    return np.resize(samples, round(seconds * SAMPLE_RATE))


def update_times(seconds: float, interval_s: float) -> list[float]:
    """When an utterance of `seconds` is updated: a frame after each interval, and at its end."""
    times = [n * interval_s + FRAME_S for n in range(1, int(seconds / interval_s) + 1)]
    return [*(time for time in times if time < seconds), seconds]


class Script:
    """Token ids without repetitions, said at a fixed rate."""

    def __init__(self, end_id: int, *, vocabulary: int = 100_000, length: int = 4096) -> None:
        generator = torch.Generator().manual_seed(0)
        self._ids: list[int] = torch.randperm(vocabulary, generator=generator)[:length].tolist()
        self.end_id = end_id

    def said(self, heard_s: float, *, final: bool = True) -> list[int]:
        """The hypothesis after `heard_s`: a partial gets its last tokens wrong, so that drafts are not all accepted."""
        ids = self._ids[: int(heard_s * TOKENS_PER_SECOND)]
        if final:
            return ids
        sure = max(0, len(ids) - REVISED)
        return ids[:sure] + [token + 1 for token in ids[sure:]]

    def direct(self, stream: StreamState, heard_s: float, *, final: bool) -> None:
        """Make the next step of `stream` say the script."""
        ids = self.said(heard_s, final=final)

        def allowed(tokens: Sequence[int]) -> Sequence[int]:
            here = len(stream.frozen.tokens) + len(tokens)
            return (ids[here] if here < len(ids) else self.end_id,)

        stream.allowed = allowed


def script_for(recognizer: Recognizer) -> Script:
    vocabulary = min(100_000, recognizer.network.config.decoder.vocab_size // 2)
    return Script(min(recognizer.prompt.end_ids), vocabulary=vocabulary, length=min(4096, vocabulary))
