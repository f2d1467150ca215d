"""The models of `transformers`, run the plain way: what ours must equal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRForTokenClassification,
)

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Greedy:
    """`ids` chosen, without the end token; `logits` `[steps, vocabulary]` of every step, the end's too."""

    ids: list[int]
    logits: Tensor


def features(samples: Samples) -> tuple[Tensor, Tensor]:
    """Features `[1, 128, frames]`, padded to whole chunks, and their mask `[1, frames]`."""
    extract = Qwen3ASRFeatureExtractor()
    extracted = extract([samples], sampling_rate=16_000, padding="longest", return_attention_mask=True)
    return extracted["input_features"], extracted["attention_mask"]


class Reference:
    """One native checkpoint folder as `transformers` reads it, float32, eager attention."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        self.model, report = Qwen3ASRForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        if any(report.values()):
            raise AssertionError(f"the reference does not take {folder} whole: {report}")
        self.model.eval()

    def encode(self, samples: Samples) -> Tensor:
        """Embeddings `[tokens, hidden]` of one clip."""
        values, mask = features(samples)
        embeddings: Tensor = self.model.get_audio_features(values, mask).pooler_output
        return embeddings

    def prompt(self, audio_tokens: int, context: str, language: str | None) -> list[int]:
        """The prompt as one string with control tokens in it, as the published chat template renders it."""
        text = f"<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|>"
        text += "<|audio_pad|>" * audio_tokens
        text += "<|audio_end|><|im_end|>\n<|im_start|>assistant\n"
        text += f"language {language}<asr_text>" if language else ""
        ids: list[int] = self.tokenizer(text)["input_ids"]
        return ids

    def greedy(self, samples: Samples, steps: int, context: str = "", language: str | None = None) -> Greedy:
        """Greedy decoding through `generate`, at most `steps` tokens."""
        values, mask = features(samples)
        prompt = self.prompt(self.encode(samples).shape[0], context, language)
        ids = torch.tensor([prompt])
        generated = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            input_features=values,
            input_features_mask=mask,
            do_sample=False,
            max_new_tokens=steps,
            return_dict_in_generate=True,
            output_logits=True,
        )
        ends = set(self.model.config.eos_token_id)
        chosen = [token for token in generated.sequences[0, len(prompt) :].tolist() if token not in ends]
        return Greedy(chosen, torch.cat(generated.logits))


class AlignerReference:
    """A native aligner folder as `transformers` reads it."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        self.model = Qwen3ASRForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def logits(self, samples: Samples, units: list[str]) -> Tensor:
        """Scores `[2 * units, classes]` at the time stamps."""
        values, mask = features(samples)
        tokens = self.model.model.get_audio_features(values, mask).pooler_output.shape[0]
        text = "<|audio_start|>" + "<|audio_pad|>" * tokens + "<|audio_end|>"
        text += "".join(f"{unit}<timestamp><timestamp>" for unit in units)
        ids = torch.tensor([self.tokenizer(text)["input_ids"]])
        scores = self.model(input_ids=ids, input_features=values, input_features_mask=mask).logits[0]
        stamps: Tensor = scores[ids[0] == self.model.config.timestamp_token_id]
        return stamps
