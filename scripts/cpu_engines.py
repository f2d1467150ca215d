"""The engines that `bench_cpu` compares, each behind the same three calls: offline, streaming, peak memory.

`steno` streams its own way. `transformers` streams the way of the official package: at each update everything heard is
encoded and prefilled again, behind it all of the previous text but its last 5 tokens, and the rest is decoded.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from scripts.scripted_speech import Script, script_for, speech, update_times
from steno.models.checkpoint import load_config
from steno.models.mel import SAMPLE_RATE
from steno.models.prompt import Prompt
from steno.models.recognizer import Recognizer, StreamState
from steno.models.tokenizer import Tokenizer

ROLLBACK = 5  # tokens that the official policy decodes again at each update
DECODE_ROWS = 8  # a pass of more rows counts as prefill


@dataclass(slots=True)
class Step:
    """One update or one whole transcription. `parts`: seconds within `wall_s`; `cpu_s`: of all threads."""

    heard_s: float
    wall_s: float
    cpu_s: float
    parts: dict[str, float] = field(default_factory=dict)


class Engine(Protocol):
    def offline(self, seconds: float) -> Step: ...

    def stream(self, seconds: float, interval_s: float, at: Sequence[float] | None) -> list[Step]:
        """Updates of an utterance of `seconds`, the last one its final; `at`: only those after these seconds."""
        ...


class Steno:
    """Ours, in one numeric mode."""

    def __init__(
        self, folder: Path, dtype: str, window_s: int | None = None, context_limit_s: int | None = None
    ) -> None:
        self.recognizer = Recognizer.load(folder, dtype=dtype, window_s=window_s, context_limit_s=context_limit_s)
        self._script = script_for(self.recognizer)
        self._parts: dict[str, float] = {}
        network = self.recognizer.network
        tower = network.audio_tower
        for owner, name, part in (
            (tower, "stem", "stem"),
            (tower, "encode_windows", "encoder layers"),
            (network, "score", "head"),
        ):
            setattr(owner, name, self._timed(getattr(owner, name), part))
        network.model.forward = self._timed_decoder(network.model.forward)  # type: ignore[method-assign]  # timed in place

    def offline(self, seconds: float) -> Step:
        stream = self.recognizer.open()
        step = self._step(stream, 0.0, seconds, final=True)
        self.recognizer.close(stream)
        return step

    def stream(self, seconds: float, interval_s: float, at: Sequence[float] | None) -> list[Step]:
        stream = self.recognizer.open()
        steps, heard = [], 0.0
        for until in update_times(seconds, interval_s):
            steps.append(self._step(stream, heard, until, final=until >= seconds))
            heard = until
        self.recognizer.close(stream)
        return steps if at is None else [step for step in steps if step.heard_s in at]

    def _step(self, stream: StreamState, heard_s: float, until_s: float, *, final: bool) -> Step:
        samples = speech(until_s)[round(heard_s * SAMPLE_RATE) :]
        self._script.direct(stream, until_s, final=final)
        self._parts.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        self.recognizer.feed(stream, samples, final=final)
        self.recognizer.step([stream])
        step = Step(until_s, time.perf_counter() - wall, time.process_time() - cpu, dict(self._parts))
        step.parts["rest"] = step.wall_s - sum(step.parts.values())
        return step

    def _timed(self, call: Callable[..., object], part: str) -> Callable[..., object]:
        def timed(*args: object) -> object:
            start = time.perf_counter()
            try:
                return call(*args)
            finally:
                self._parts[part] = self._parts.get(part, 0.0) + time.perf_counter() - start

        return timed

    def _timed_decoder(self, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def timed(x: Tensor, *args: object) -> Tensor:
            part = "decode" if x.shape[0] <= DECODE_ROWS else "prefill"
            result = self._timed(call, part)(x, *args)
            assert isinstance(result, Tensor)
            return result

        return timed


class Transformers:
    """The native model of `transformers`, in bfloat16 or float32."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from transformers import LogitsProcessor, Qwen3ASRFeatureExtractor, Qwen3ASRForConditionalGeneration

        self._dtype: torch.dtype = getattr(torch, dtype)
        self._model = Qwen3ASRForConditionalGeneration.from_pretrained(folder, dtype=self._dtype).eval()
        self._extract = Qwen3ASRFeatureExtractor()
        self._config = load_config(folder)
        self._prompt = Prompt(Tokenizer.load(folder), self._config)
        self._script = Script(min(self._prompt.end_ids))

        class Forced(LogitsProcessor):  # type: ignore[misc]  # has no stubs
            """Leaves one token to choose: the next of `ids`."""

            def __init__(self, ids: list[int]) -> None:
                self._ids = iter(ids)

            def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
                forced = torch.full_like(scores, float("-inf"))
                forced[:, next(self._ids)] = 0
                return forced

        self._forced = Forced

    def offline(self, seconds: float) -> Step:
        return self._generate(seconds, [])

    def stream(self, seconds: float, interval_s: float, at: Sequence[float] | None) -> list[Step]:
        points = at or update_times(seconds, interval_s)
        return [self._update(heard, interval_s) for heard in points]

    def _update(self, heard_s: float, interval_s: float) -> Step:
        kept = self._script.said(heard_s - interval_s)[:-ROLLBACK]
        return self._generate(heard_s, kept)

    @torch.inference_mode()
    def _generate(self, seconds: float, kept: list[int]) -> Step:
        samples = speech(seconds)
        text = [*self._script.said(seconds)[len(kept) :], self._script.end_id]
        wall, cpu = time.perf_counter(), time.process_time()
        features = self._extract([samples], sampling_rate=SAMPLE_RATE, padding="longest", return_attention_mask=True)
        mask = features["attention_mask"]
        audio = [self._prompt.audio_pad_id] * self._config.encoder.tokens(int(mask.sum()))
        ids = torch.tensor([self._prompt.head("") + audio + self._prompt.suffix(None) + kept])
        self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            input_features=features["input_features"].to(self._dtype),
            input_features_mask=mask,
            do_sample=False,
            max_new_tokens=len(text),
            logits_processor=[self._forced(text)],
        )
        return Step(seconds, time.perf_counter() - wall, time.process_time() - cpu)


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MB (10^6); ru_maxrss is in KiB on Linux, in bytes on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def file_memory_mb() -> int:
    """Resident pages of mapped files (weights, libraries) in this process, in MB; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(round(int(line.split()[1]) * 1024 / 1e6) for line in lines if line.startswith("RssFile"))
