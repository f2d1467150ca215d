"""A checkpoint folder as steno loads it, decoded in the plainest way that the parts allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from steno.models.checkpoint import load_network
from steno.models.decoder import Row
from steno.models.kv_cache import KVCache
from steno.models.mel import MelTransform, Samples, log_mel
from steno.models.network import Network
from steno.models.prompt import Prompt
from steno.models.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Ours:
    network: Network
    prompt: Prompt

    @classmethod
    def load(cls, folder: Path) -> Ours:
        network = load_network(folder, device="cpu", dtype=torch.float32)
        return cls(network, Prompt(Tokenizer.load(folder), network.config))

    def encode(self, samples: Samples) -> Tensor:
        """Embeddings `[tokens, hidden]` of one clip."""
        encoded: list[Tensor] = self.network.audio_tower([log_mel(samples, MelTransform.create())])
        return encoded[0]

    def embed(self, tokens: list[int]) -> Tensor:
        embedded: Tensor = self.network.model.embed_tokens(torch.tensor(tokens))
        return embedded

    def question(self, samples: Samples, context: str, language: str | None) -> Tensor:
        """Everything before the answer, `[tokens, hidden]`."""
        head, suffix = self.prompt.head(context), self.prompt.suffix(language)
        return torch.cat((self.embed(head), self.encode(samples), self.embed(suffix)))

    def step_logits(self, samples: Samples, context: str, language: str | None, answer: list[int]) -> Tensor:
        """Scores `[len(answer) + 1, vocabulary]` of every step of an answer: one prefill, then single tokens."""
        cache = KVCache(self.network.config.decoder, dtype=torch.float32, device="cpu")
        slot = cache.open()
        question = self.question(samples, context, language)
        states = [self.network.model(question, [Row(slot, question.shape[0])], cache)[-1:]]
        states += [self.network.model(self.embed([token]), [Row(slot, 1)], cache) for token in answer]
        return self.network.logits(torch.cat(states))
