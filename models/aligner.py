"""Forced alignment: where each word of a known text lies in its audio. One forward pass per clip.

The model reads the audio, then the text with two time stamps behind each unit, and classifies every stamp into steps of
80 ms. Knows no sessions, and no recognizer: the text may come from anywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .checkpoint import resolve_source
from .decoder import Row
from .kv_cache import KVCache
from .mel import SAMPLE_RATE, MelTransform, Samples, log_mel
from .network import Network
from .packing import load_ready
from .tokenizer import Tokenizer

LANGUAGES = (
    "Chinese",
    "English",
    "Cantonese",
    "French",
    "German",
    "Italian",
    "Japanese",
    "Korean",
    "Portuguese",
    "Russian",
    "Spanish",
)
"""What the published aligner was trained on (English names)."""

_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
_SHORT_RUN = 2  # distrusted stamps in a row that are copied from a neighbour rather than interpolated


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """A unit of the text and where it lies, in samples at 16 kHz from the clip's start."""

    text: str
    start: int
    end: int


class ForcedAligner:
    """Weights (read-only after load). Not thread-safe: one thread aligns."""

    def __init__(self, network: Network, tokenizer: Tokenizer, *, name: str) -> None:
        config = network.config
        if config.classes is None or config.timestamp_token_id is None:
            raise ValueError(f"{name} is a speech recognition checkpoint: expected a forced aligner")
        self.name = name
        self.network = network
        self.tokenizer = tokenizer
        self._step_ms = config.timestamp_ms
        self._limit_s = config.classes * config.timestamp_ms / 1000
        self._before, self._after = tokenizer.id("<|audio_start|>"), tokenizer.id("<|audio_end|>")
        self._stamp = config.timestamp_token_id
        self._transform = MelTransform.create(config.encoder.mel_bins, network.device)
        self._cache = KVCache(config.decoder, dtype=network.dtype, device=network.device, spare_slots=1)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str = "cpu",
        dtype: str | torch.dtype = torch.float32,
        revision: str | None = None,
        offline: bool = False,
        progress: bool = True,
    ) -> ForcedAligner:
        """Load a folder or a hub id such as Qwen/Qwen3-ForcedAligner-0.6B; `dtype` as for `Recognizer.load`.

        Raises CheckpointError, ValueError for the dtype.
        """
        folder = resolve_source(source, revision=revision, offline=offline, progress=progress)
        network, _ = load_ready(folder, device=device, dtype=dtype)
        return cls(network, Tokenizer.load(folder), name=str(source))

    def align(self, samples: Samples, text: str) -> list[AlignedWord]:
        """Words of `text` in order, each within the clip: float32 mono 16 kHz `[n]`; [] for a text without letters.

        Raises ValueError for audio that is longer than the model's time classes reach.
        """
        units = list(alignment_units(text))
        if not units:
            return []
        per_ms = SAMPLE_RATE // 1000
        edges = [min(stamp * per_ms, samples.size) for stamp in self.stamps_ms(samples, units)]
        return [AlignedWord(unit, *edges[2 * n : 2 * n + 2]) for n, unit in enumerate(units)]

    def stamps_ms(self, samples: Samples, units: Sequence[str]) -> list[int]:
        """Start and end of each unit in milliseconds, never decreasing, `2 * len(units)` of them."""
        classes = self.logits(samples, units).argmax(-1)
        return repair([value * self._step_ms for value in classes.tolist()])

    @torch.inference_mode()
    def logits(self, samples: Samples, units: Sequence[str]) -> Tensor:
        """Scores `[2 * len(units), classes]` of the stamps."""
        if samples.size > self._limit_s * SAMPLE_RATE:
            raise ValueError(
                f"{samples.size / SAMPLE_RATE:.1f} s of audio: {self.name} aligns at most {self._limit_s:.0f} s"
            )
        dtype, device = self.network.dtype, self.network.device
        audio = self.network.audio_tower([log_mel(samples, self._transform).to(dtype)])[0]
        text = [token for unit in units for token in (*self.tokenizer.encode(unit), self._stamp, self._stamp)]
        before = torch.tensor([self._before], device=device)
        after = torch.tensor([self._after, *text], device=device)
        embed = self.network.model.embed_tokens
        packed = torch.cat((embed(before), audio.to(dtype), embed(after)))
        slot = self._cache.open()
        try:
            states = self.network.model(packed, [Row(slot, packed.shape[0])], self._cache)
        finally:
            self._cache.close(slot)
        return self.network.logits(states[-after.shape[0] :][after == self._stamp])


def alignment_units(text: str) -> Iterator[str]:
    """The units that get time stamps: words without punctuation, and single ideographs.

    Letters, digits and the apostrophe stay, so "e-mail" is "email". Japanese kana and Korean stay in runs between white
    space and ideographs; the official package asks a morphological tagger for these two languages instead.
    """
    for word in text.split():
        run = ""
        for character in word:
            if _is_ideograph(character):
                if run:
                    yield run
                    run = ""
                yield character
            elif character == "'" or unicodedata.category(character)[0] in "LN":
                run += character
        if run:
            yield run


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def repair(stamps: Sequence[int]) -> list[int]:
    """Stamps made non-decreasing, as the official package does.

    The longest non-decreasing subsequence is trusted. A run of one or two others copies the nearer trusted neighbour, a
    longer one is interpolated between its neighbours; where there is only one neighbour it is copied.
    """
    trusted = _longest_rise(stamps)
    repaired = list(stamps)
    edges = [-1, *trusted, len(stamps)]
    for left, right in zip(edges, edges[1:], strict=False):
        count = right - left - 1
        low = stamps[left] if left >= 0 else stamps[right] if right < len(stamps) else 0
        high = stamps[right] if right < len(stamps) else low
        for place in range(left + 1, right):
            step = place - left
            if count <= _SHORT_RUN:
                repaired[place] = low if step <= right - place else high
            else:
                repaired[place] = int(low + (high - low) / (count + 1) * step)
    return repaired


def _longest_rise(values: Sequence[int]) -> list[int]:
    """Indices of the longest non-decreasing subsequence; of equals, the one that ends first, from early members."""
    array = np.asarray(values)
    length = np.ones(len(array), dtype=np.int64)
    before = np.full(len(array), -1)
    for here in range(1, len(array)):
        reachable = np.where(array[:here] <= array[here], length[:here], 0)
        best = int(reachable.argmax())
        if reachable[best] > 0:
            length[here], before[here] = reachable[best] + 1, best
    found = []
    here = int(length.argmax()) if len(array) else -1
    while here >= 0:
        found.append(here)
        here = int(before[here])
    return found[::-1]
