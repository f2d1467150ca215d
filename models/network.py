"""The whole network: audio tower, decoder and head, with the official parameter names below `thinker.`"""

from __future__ import annotations

from torch import Tensor, nn

from .config import ModelConfig
from .decoder import TextDecoder
from .encoder import AudioEncoder


class Network(nn.Module):
    """Weights only. The head scores the vocabulary, or time classes in a forced aligner."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_tower = AudioEncoder(config.encoder)
        self.model = TextDecoder(config.decoder)
        self.lm_head = nn.Linear(config.decoder.hidden_size, config.head_outputs, bias=False)
        self.tie()

    def tie(self) -> None:
        """Make the head share the embedding's weight where the config says so; again after weights were replaced."""
        if self.config.decoder.tied_head:
            self.lm_head.weight = self.model.embed_tokens.weight

    def logits(self, states: Tensor) -> Tensor:
        """Scores `[n, vocabulary or classes]` of states `[n, hidden]`."""
        scores: Tensor = self.lm_head(states)
        return scores
