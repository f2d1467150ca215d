"""Training forward of the network: padded batches in, losses out.

Uses the weights and layers of steno.models and nothing of its caches: attention is laid out as
dense masks, which say what the streaming code says with caches (a test compares the two).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steno.models.config import ModelConfig
from steno.models.encoder import sinusoids
from steno.models.layers import rope_tables
from steno.models.network import Network

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """One padded batch. B rows, C chunks of 100 frames at most, L decoder positions at most."""

    features: Tensor  # float32 [B, mel, C * 100], 0.0 behind each clip's end
    tokens: Tensor  # int64 [B], audio tokens of each clip
    ids: Tensor  # int64 [B, L]
    targets: Tensor  # int64 [B, L], IGNORED where no loss is taken
    ctc_targets: Tensor  # int64 [sum(ctc_lengths)]
    ctc_lengths: Tensor  # int64 [B]

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            *(
                t.to(device, non_blocking=True)
                for t in (
                    self.features,
                    self.tokens,
                    self.ids,
                    self.targets,
                    self.ctc_targets,
                    self.ctc_lengths,
                )
            )
        )


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How the audio tower attends in one batch: the mode, its seconds, and the stream position
    (in chunks) at which the clips are said to start."""

    mode: Literal["rolling", "window"]
    seconds: int
    first_chunk: int = 0


class TrainingModel(nn.Module):
    """The network, and a CTC head over the audio embeddings that only training uses."""

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self._drop = nn.Dropout(dropout)
        self.network = Network(config)
        self.ctc_head = nn.Linear(config.decoder.hidden_size, config.decoder.vocab_size + 1)
        self.blank = config.decoder.vocab_size
        self.apply(_initialise)
        depth = 2 * config.decoder.layers
        for layer in self.network.model.layers:
            for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                nn.init.normal_(linear.weight, std=0.04 / depth**0.5)

    def encode(self, features: Tensor, tokens: Tensor, plan: AttentionPlan) -> Tensor:
        """Audio embeddings `[B, C * 13, hidden]`; rows behind a clip's tokens are meaningless."""
        tower = self.network.audio_tower
        config = self.config.encoder
        batch, _, frames = features.shape
        chunks = features.unflatten(2, (-1, config.chunk_frames)).transpose(1, 2)
        x = chunks.flatten(0, 1)[:, None]
        x = F.gelu(tower.conv2d1(x))
        x = F.gelu(tower.conv2d2(x))
        x = F.gelu(tower.conv2d3(x))
        x = tower.conv_out(x.permute(0, 3, 1, 2).flatten(2)).unflatten(0, (batch, -1)).flatten(1, 2)
        index = torch.arange(x.shape[1], device=x.device) + plan.first_chunk * config.chunk_tokens
        if config.positions == "chunk":
            index = index % config.chunk_tokens
        x = self._drop(x + sinusoids(index, config.hidden_size).to(x.dtype))
        mask = self.encoder_mask(x.shape[1], tokens, plan)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            heads = (t.transpose(1, 2) for t in (q, k, v))
            mixed = F.scaled_dot_product_attention(*heads, attn_mask=mask)
            return self._drop(mixed).transpose(1, 2)

        for layer in tower.layers:
            x = layer(x, attend)
        return tower.project(x)

    def encoder_mask(self, length: int, tokens: Tensor, plan: AttentionPlan) -> Tensor:
        """True where a token may look, `[B, 1, length, length]`."""
        config = self.config.encoder
        position = torch.arange(length, device=tokens.device)
        if plan.mode == "rolling":
            left = config.tokens(plan.seconds * 100)
            start = position // config.block_tokens * config.block_tokens
            seen = (position >= start[:, None] - left) & (position < start[:, None] + config.block_tokens)
        else:
            window = position // (config.chunk_tokens * plan.seconds)
            seen = window[:, None] == window
        real = position < tokens[:, None]
        itself = position[:, None] == position
        return ((seen & real[:, None, :]) | itself)[:, None]

    def decode(self, ids: Tensor, audio: Tensor, tokens: Tensor) -> Tensor:
        """Normed decoder states `[B, L, hidden]` of right-padded rows."""
        decoder = self.network.model
        config = self.config.decoder
        real = torch.arange(audio.shape[1], device=audio.device) < tokens[:, None]
        x = F.embedding(ids, decoder.embed_tokens.weight)
        audio_rows = (ids == self.config.audio_token_id)[..., None]
        x = x.masked_scatter(audio_rows, audio[real].to(x.dtype))
        positions = torch.arange(ids.shape[1], device=ids.device)
        cos, sin = rope_tables(positions, config, x.dtype)
        group = config.heads // config.kv_heads

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k, v = k.repeat_interleave(group, dim=-2), v.repeat_interleave(group, dim=-2)
            heads = (t.transpose(1, 2) for t in (q.to(v.dtype), k.to(v.dtype), v))
            mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
            return self._drop(mixed).transpose(1, 2)

        for layer in decoder.layers:
            x = layer(x, cos, sin, attend)
        return decoder.norm(x)

    def losses(self, batch: Batch, plan: AttentionPlan, with_decoder: bool) -> tuple[Tensor, Tensor]:
        """(CTC loss per target token, decoder cross-entropy per target token)."""
        audio = self.encode(batch.features, batch.tokens, plan)
        scores = self.ctc_head(audio).float().log_softmax(-1).transpose(0, 1)
        ctc = F.ctc_loss(
            scores,
            batch.ctc_targets,
            batch.tokens,
            batch.ctc_lengths,
            blank=self.blank,
            reduction="sum",
            zero_infinity=True,
        ) / (batch.ctc_lengths.sum() + batch.ctc_lengths.numel())
        if not with_decoder:
            return ctc, ctc.new_zeros(())
        states = self.decode(batch.ids, audio, batch.tokens)
        wanted = batch.targets != IGNORED
        logits = self.network.logits(states[wanted]).float()
        return ctc, F.cross_entropy(logits, batch.targets[wanted], label_smoothing=0.05)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.05)
