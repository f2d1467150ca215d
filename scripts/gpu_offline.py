"""Whole clips on an accelerator: seconds of audio per second and the time to the first token, ours and beside it
`transformers`, with as many tokens as the script says.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from scripts.gpu_model import Maker, distinct_clips, synchronize, text_tokens
from scripts.gpu_parts import Budget, Row
from scripts.make_checkpoint import config_values, write_tokenizer
from steno.models.checkpoint import load_config
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.prompt import Prompt
from steno.models.recognizer import Recognizer
from steno.models.tokenizer import Tokenizer

CONCURRENCIES = (1, 8, 32, 128)
CLIPS_S = (30, 10, 120)  # the first is what the targets name
FIRST_TOKENS = 8  # batches timed to their first token


@dataclass(frozen=True, slots=True)
class Offline:
    """One batch of `concurrency` clips. `ttft_*`: the same batch with a limit of one token."""

    engine: str
    concurrency: int
    clip_s: float
    audio_per_s: float
    ttft_mean_ms: float | None
    ttft_p95_ms: float | None
    tokens: int


def batch_s(recognizer: Recognizer, clips: Sequence[Samples], limit: int, device: str) -> tuple[float, int]:
    """Seconds from the first sample handed over to the last final, and the tokens said."""
    synchronize(device)
    start = time.perf_counter()
    streams = [recognizer.open(max_new_tokens=limit) for _ in clips]
    for stream, samples in zip(streams, clips, strict=True):
        recognizer.feed(stream, samples, final=True)
    tokens = sum(len(hypothesis.token_ids) for hypothesis in recognizer.step(streams))
    synchronize(device)
    took = time.perf_counter() - start
    for stream in streams:
        recognizer.close(stream)
    return took, tokens


def offline(maker: Maker, recognizer: Recognizer, budget: Budget) -> Iterator[Row]:
    """Every size of clip and batch that the slots and the budget allow."""
    lengths: Sequence[float] = (1.0, 2.0) if maker.tiny else CLIPS_S
    for clip_s in lengths:
        for concurrency in (1, 4) if maker.tiny else CONCURRENCIES:
            if not budget.over:
                yield asdict(measure(maker, recognizer, concurrency, clip_s))


def measure(maker: Maker, recognizer: Recognizer, concurrency: int, clip_s: float) -> Offline:
    clips = distinct_clips(concurrency, clip_s)
    limit = text_tokens(clip_s)
    first = [batch_s(recognizer, clips, 1, maker.device)[0] for _ in range(FIRST_TOKENS + 1)][1:]
    batch_s(recognizer, clips, limit, maker.device)  # graphs that no smaller batch needed
    took, tokens = batch_s(recognizer, clips, limit, maker.device)
    return Offline(
        "steno",
        concurrency,
        clip_s,
        concurrency * clip_s / took,
        mean(first) * 1e3,
        float(np.percentile(first, 95)) * 1e3,
        tokens,
    )


class Transformers:
    """The native model of `transformers`, random weights of the same size, the same number of tokens."""

    def __init__(self, maker: Maker, size: str) -> None:
        from transformers import Qwen3ASRFeatureExtractor, Qwen3ASRForConditionalGeneration

        self._device = maker.device
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            shapes = maker.size(size)
            ids = write_tokenizer(folder, "native", shapes.vocab)
            (folder / "config.json").write_text(json.dumps(config_values(shapes, "native", ids)))
            self._config = load_config(folder)
            self._prompt = Prompt(Tokenizer.load(folder), self._config)
            config = Qwen3ASRForConditionalGeneration.config_class.from_pretrained(folder)
        self._dtype = torch.bfloat16 if maker.device.startswith("cuda") else torch.float32
        with torch.device(maker.device):
            model = Qwen3ASRForConditionalGeneration(config)
        self._model = model.to(self._dtype).eval()
        self._extract = Qwen3ASRFeatureExtractor()

    @torch.inference_mode()
    def batch_s(self, clips: Sequence[Samples], tokens: int) -> float:
        """Seconds to exactly `tokens` tokens for each clip; all of one length."""
        synchronize(self._device)
        start = time.perf_counter()
        features = self._extract(list(clips), sampling_rate=SAMPLE_RATE, padding="longest", return_attention_mask=True)
        mask = features["attention_mask"]
        audio = [self._prompt.audio_pad_id] * self._config.encoder.tokens(int(mask[0].sum()))
        ids = torch.tensor([self._prompt.head("") + audio + self._prompt.suffix(None)] * len(clips))
        self._model.generate(
            input_ids=ids.to(self._device),
            attention_mask=torch.ones_like(ids).to(self._device),
            input_features=features["input_features"].to(self._device, self._dtype),
            input_features_mask=mask.to(self._device),
            do_sample=False,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
        )
        synchronize(self._device)
        return time.perf_counter() - start


def beside(maker: Maker, size: str, budget: Budget) -> Iterator[Row]:
    """`transformers` on clips of 30 s, as many at a time as the budget allows."""
    try:
        model = Transformers(maker, size)
    except ImportError as error:
        yield {"skipped": f"no transformers with this model here ({error})"}
        return
    clip_s = 1.0 if maker.tiny else 30.0
    for concurrency in (1, 2) if maker.tiny else CONCURRENCIES:
        if budget.over:
            break
        clips = distinct_clips(concurrency, clip_s)
        tokens = text_tokens(clip_s)
        model.batch_s(clips, 1)
        first_s, took = model.batch_s(clips, 1), model.batch_s(clips, tokens)
        audio_per_s = concurrency * clip_s / took
        yield asdict(
            Offline("transformers", concurrency, clip_s, audio_per_s, first_s * 1e3, None, tokens * concurrency)
        )
