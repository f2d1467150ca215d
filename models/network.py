"""The whole network: audio tower, decoder and head, with the official parameter names below `thinker.`"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .decoder import TextDecoder
from .encoder import AudioEncoder
from .vocabulary import RescoredHead, Scored, largest


class Network(nn.Module):
    """Weights only. The head scores the vocabulary, or time classes in a forced aligner."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_tower = AudioEncoder(config.encoder)
        self.model = TextDecoder(config.decoder)
        self.lm_head: nn.Module = nn.Linear(config.decoder.hidden_size, config.head_outputs, bias=False)
        self.tie()

    @property
    def device(self) -> torch.device:
        return self.model.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations."""
        return self.model.norm.weight.dtype

    def tie(self) -> None:
        """Make the head share the embedding's weight where the config says so; again after weights were replaced."""
        if self.config.decoder.tied_head:
            self.lm_head.weight = self.model.embed_tokens.weight

    def logits(self, states: Tensor) -> Tensor:
        """Scores `[n, vocabulary or classes]` of states `[n, hidden]`."""
        scores: Tensor = self.lm_head(states)
        return scores

    def score(self, states: Tensor) -> Scored:
        """Scores of states `[n, hidden]` and the best of each; a packed head's choice is that of its exact rows."""
        if isinstance(self.lm_head, RescoredHead):
            return self.lm_head.score(states)
        scores = self.logits(states).float()
        return Scored(scores, largest(scores))


def parameter_count(config: ModelConfig) -> int:
    """Parameters of a network of these shapes; a tied head is counted once."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Network(config).parameters())
