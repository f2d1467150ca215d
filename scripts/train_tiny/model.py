"""Training forward of the network: padded batches in, losses out.

Uses the weights and layers of steno.models and nothing of its caches: attention is laid out as
dense masks, which say what the streaming code says with caches (a test compares the two).
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from steno.models.config import ModelConfig
from steno.models.encoder import sinusoids
from steno.models.layers import rope_tables
from steno.models.network import Network

from . import guidance

IGNORED = -100
PHONEME_FRAMES = 3  # phonemes may come faster than 13 a second


class Batch(NamedTuple):
    """One padded batch. B rows, C chunks of 100 frames at most, L decoder positions at most."""

    features: Tensor  # float32 [B, mel, C * 100], 0.0 behind each clip's end
    tokens: Tensor  # int64 [B], audio tokens of each clip
    ids: Tensor  # int64 [B, L]
    targets: Tensor  # int64 [B, L], IGNORED where no loss is taken
    ctc_targets: Tensor  # int64 [sum(ctc_lengths)]
    ctc_lengths: Tensor  # int64 [B]
    phonemes: Tensor  # int64 [sum(phoneme_lengths)]
    phoneme_lengths: Tensor  # int64 [B]; -1 where the pronunciation is not known
    frame_labels: Tensor  # int64 [B, C * 13 * PHONEME_FRAMES], rough phonemes, IGNORED where none
    words: Tensor  # int64 [B, L], index of the word that a target is part of, -1 for none
    ctc_words: Tensor  # int64 [sum(ctc_lengths)], the same of each CTC target

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How the audio tower attends in one batch: the mode, its seconds, and the stream position
    (in chunks) at which the clips are said to start."""

    mode: Literal["rolling", "window"]
    seconds: int
    first_chunk: int = 0


class Losses(NamedTuple):
    """Scalars, per target unit."""

    phonemes: Tensor
    frames: Tensor
    ctc: Tensor
    looking: Tensor
    answer: Tensor


class Decoded(NamedTuple):
    """What the decoder makes of rows of L positions, and what each layer compared to look around."""

    states: Tensor  # [B, L, hidden], normed
    compared: list[tuple[Tensor, Tensor]]  # queries [B, L, heads, head size], keys [B, L, kv heads, head size]


class Heard(NamedTuple):
    """What the audio tower makes of a batch."""

    audio: Tensor  # [B, C * 13, hidden of the decoder]
    middle: Tensor  # [B, C * 13, d_model] before the last layers: where phonemes are read off


class TrainingModel(nn.Module):
    """The network, and two CTC heads that only training uses: tokens from the audio embeddings, and
    phonemes, three to a position, from two layers below the top of the audio tower."""

    def __init__(self, config: ModelConfig, phonemes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self._drop = nn.Dropout(dropout)
        self.network = Network(config)
        self.ctc_head = nn.Linear(config.decoder.hidden_size, config.decoder.vocab_size + 1)
        self.phoneme_norm = nn.LayerNorm(config.encoder.hidden_size)
        self.phoneme_head = nn.Linear(config.encoder.hidden_size, PHONEME_FRAMES * (phonemes + 1))
        self.phoneme_blank = phonemes
        self.blank = config.decoder.vocab_size
        self.apply(_initialise)
        for name, weight in self.network.model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):  # small steps into the residual stream
                nn.init.normal_(weight, std=0.04 / (2 * config.decoder.layers) ** 0.5)

    def encode(self, features: Tensor, tokens: Tensor, plan: AttentionPlan) -> Heard:
        """Embed padded clips; rows behind a clip's tokens are meaningless."""
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
            mixed = F.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
            )
            return cast(Tensor, self._drop(mixed)).transpose(1, 2)

        middle = x
        for number, layer in enumerate(tower.layers):
            x = layer(x, attend)
            if number == len(tower.layers) - 3:
                middle = x
        return Heard(tower.project(x), middle)

    def encoder_mask(self, length: int, tokens: Tensor, plan: AttentionPlan) -> Tensor:
        """True where a token may look, `[B, 1, length, length]`."""
        config = self.config.encoder
        position = torch.arange(length, device=tokens.device)
        if plan.mode == "rolling":
            left = replace(config, left_context_frames=plan.seconds * 100).left_context_tokens
            start = position // config.block_tokens * config.block_tokens
            seen = (position >= start[:, None] - left) & (position < start[:, None] + config.block_tokens)
        else:
            window = position // (config.chunk_tokens * plan.seconds)
            seen = window[:, None] == window
        real = position < tokens[:, None]
        itself = position[:, None] == position
        return ((seen & real[:, None, :]) | itself)[:, None]

    def decode(self, ids: Tensor, audio: Tensor, tokens: Tensor) -> Decoded:
        """Run right-padded rows through the decoder."""
        decoder = self.network.model
        config = self.config.decoder
        real = torch.arange(audio.shape[1], device=audio.device) < tokens[:, None]
        x = F.embedding(ids, decoder.embed_tokens.weight)
        audio_rows = (ids == self.config.audio_token_id)[..., None]
        x = x.masked_scatter(audio_rows, audio[real].to(x.dtype))
        positions = torch.arange(ids.shape[1], device=ids.device)
        cos, sin = rope_tables(positions, config, x.dtype)
        group = config.heads // config.kv_heads
        compared: list[tuple[Tensor, Tensor]] = []

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            compared.append((q, k))
            k, v = k.repeat_interleave(group, dim=-2), v.repeat_interleave(group, dim=-2)
            mixed = F.scaled_dot_product_attention(
                q.to(v.dtype).transpose(1, 2), k.to(v.dtype).transpose(1, 2), v.transpose(1, 2), is_causal=True
            )
            return cast(Tensor, self._drop(mixed)).transpose(1, 2)

        for layer in decoder.layers:
            x = layer(x, cos, sin, attend)
        return Decoded(decoder.norm(x), compared)

    def losses(self, batch: Batch, plan: AttentionPlan, with_decoder: bool) -> Losses:
        """All of them for one batch; `answer` is the pooled loss where the decoder is left out."""
        audio, middle = self.encode(batch.features, batch.tokens, plan)
        phonemes, frames = self._phoneme_losses(middle, batch)
        raw = self.ctc_head(audio).float()
        scores = raw.log_softmax(-1).transpose(0, 1)
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
            return Losses(phonemes, frames, ctc, ctc * 0, self._pooled(raw, batch))
        decoded = self.decode(batch.ids, audio, batch.tokens)
        wanted = batch.targets != IGNORED
        logits = self.network.logits(decoded.states[wanted]).float()
        answer = F.cross_entropy(logits, batch.targets[wanted], label_smoothing=0.05)
        return Losses(phonemes, frames, ctc, self._looking(scores.detach(), decoded, batch), answer)

    def _looking(self, scores: Tensor, decoded: Decoded, batch: Batch) -> Tensor:
        """Both looks of `guidance`, with the words where the CTC scores `[T, B, classes]` have them."""
        counts = batch.ctc_lengths.tolist()
        labels = pad_sequence(list(batch.ctc_targets.split(counts)), batch_first=True)
        label_words = pad_sequence(list(batch.ctc_words.split(counts)), batch_first=True, padding_value=-1)
        if not labels.shape[1]:  # nothing is said in the whole batch
            return torch.zeros_like(scores).sum()
        heard = guidance.words_heard(
            scores.transpose(0, 1), batch.tokens, labels, batch.ctc_lengths, label_words, self.blank
        )
        is_audio = batch.ids == self.config.audio_token_id
        written = F.pad(batch.words, (1, 0), value=-1)[:, :-1]
        total = torch.zeros((), device=scores.device)
        for look, words in ((guidance.WRITTEN, written), (guidance.NEXT, batch.words)):
            queries, keys = decoded.compared[look.layer]
            total = total + guidance.looking_loss(
                queries[:, :, look.heads], keys[:, :, look.key_head], is_audio, heard, words
            )
        return total / 2

    def _phoneme_losses(self, middle: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """CTC over the clips with a pronunciation; cross-entropy over the frames with a label."""
        scores = self.phoneme_head(self.phoneme_norm(middle)).float()
        scores = scores.unflatten(-1, (PHONEME_FRAMES, -1)).flatten(1, 2).log_softmax(-1)
        known = batch.phoneme_lengths >= 0
        if not known.any():  # a batch of noise or of clips without a pronunciation
            nothing = scores.sum() * 0
            return nothing, nothing
        lengths = batch.phoneme_lengths[known]
        ctc = F.ctc_loss(
            scores[known].transpose(0, 1),
            batch.phonemes,
            batch.tokens[known] * PHONEME_FRAMES,
            lengths,
            blank=self.phoneme_blank,
            reduction="sum",
            zero_infinity=True,
        ) / (lengths.sum() + lengths.numel()).clamp(min=1)
        labelled = (batch.frame_labels != IGNORED).sum().clamp(min=1)
        frames = F.nll_loss(scores.flatten(0, 1), batch.frame_labels.flatten(), reduction="sum") / labelled
        return ctc, frames

    def _pooled(self, raw: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of each clip's mean scores with the bag of its tokens.

        CTC begins with a long plateau of blanks; telling which words a short clip holds has none.
        """
        real = torch.arange(raw.shape[1], device=raw.device) < batch.tokens[:, None]
        mean = (raw[..., : self.blank] * real[..., None]).sum(1) / batch.tokens[:, None]
        rows = torch.repeat_interleave(torch.arange(len(mean), device=raw.device), batch.ctc_lengths)
        picked = mean.log_softmax(-1)[rows, batch.ctc_targets]
        return -picked.sum() / max(1, picked.numel())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.05)
