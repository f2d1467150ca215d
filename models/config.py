"""The shapes of a checkpoint, read from its config.json.

Knows both layouts (official `thinker_config`, and the flat transformers-native one) and both spellings of every renamed
field. Relies on no default: a size that is missing is an error that names it. Knows no tensors and no files but the one
it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

AttentionMode = Literal["window", "rolling"]
PositionScheme = Literal["chunk", "running"]

FRAMES_PER_SECOND = 100  # hop of 160 samples at 16 kHz
CONV_STRIDE = 8  # three convolutions of stride 2


class CheckpointError(ValueError):
    """A checkpoint that cannot be found or is not what it should be; the text names the file and what was expected."""


class ConfigError(CheckpointError):
    """config.json lacks a field, or holds a value that contradicts another."""


def conv_output_length(frames: int) -> int:
    """Tokens that the conv stem makes of `frames` mel frames of one chunk (each stride-2 layer rounds up)."""
    return -(-frames // CONV_STRIDE)


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Audio tower. `window_frames` and `left_context_frames` are mel frames (10 ms)."""

    mel_bins: int
    hidden_size: int
    layers: int
    heads: int
    ffn_size: int
    output_size: int
    conv_channels: int
    chunk_frames: int  # one conv chunk: 2 * n_window
    window_frames: int  # n_window_infer: attention window of the `window` mode
    attention_mode: AttentionMode = "window"
    block_chunks: int = 1  # `rolling`: chunks per block; a block sees itself and the cache
    left_context_frames: int = 0  # `rolling`: audio that the cache holds
    positions: PositionScheme = "chunk"  # sinusoids restart in each chunk, or run on

    def __post_init__(self) -> None:
        _positive(self, "mel_bins hidden_size layers heads ffn_size output_size conv_channels")
        _positive(self, "chunk_frames window_frames block_chunks")
        if self.hidden_size % self.heads:
            raise ConfigError(f"audio d_model {self.hidden_size} is not a multiple of {self.heads} heads")
        if self.hidden_size % 2:
            raise ConfigError(f"audio d_model {self.hidden_size} must be even (sinusoidal positions)")
        if self.window_frames % self.chunk_frames:
            raise ConfigError(
                f"n_window_infer {self.window_frames} is not a multiple of the chunk of "
                f"{self.chunk_frames} frames (2 * n_window)"
            )
        if self.attention_mode not in ("window", "rolling"):
            raise ConfigError(f"attention_mode {self.attention_mode!r}: expected 'window' or 'rolling'")
        if self.positions not in ("chunk", "running"):
            raise ConfigError(f"position_scheme {self.positions!r}: expected 'chunk' or 'running'")
        if self.attention_mode == "rolling" and self.left_context_frames < 0:
            raise ConfigError(f"left_context_s must not be negative, got {self.left_context_s}")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a whole chunk: 13 for the released models."""
        return conv_output_length(self.chunk_frames)

    @property
    def window_tokens(self) -> int:
        """Tokens of a whole attention window: 104 for the released models."""
        return self.chunk_tokens * (self.window_frames // self.chunk_frames)

    @property
    def block_tokens(self) -> int:
        return self.chunk_tokens * self.block_chunks

    @property
    def left_context_s(self) -> float:
        return self.left_context_frames / FRAMES_PER_SECOND

    @property
    def left_context_tokens(self) -> int:
        """Tokens kept in the rolling cache: those whose audio starts within the left context."""
        whole, rest = divmod(self.left_context_frames, self.chunk_frames)
        return (whole + 1) * self.chunk_tokens - conv_output_length(self.chunk_frames - rest)

    @property
    def conv_features(self) -> int:
        """Inputs of conv_out: channels times mel bins after three strides."""
        return self.conv_channels * conv_output_length(self.mel_bins)

    def tokens(self, frames: int) -> int:
        """Audio tokens of a clip of `frames` mel frames: 13 per whole second, and one per 8 frames of the rest."""
        whole, rest = divmod(frames, self.chunk_frames)
        return whole * self.chunk_tokens + conv_output_length(rest)


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Text decoder (Qwen3 dense)."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocab_size: int
    max_positions: int
    rms_norm_eps: float
    rope_theta: float
    tied_head: bool

    def __post_init__(self) -> None:
        _positive(self, "hidden_size intermediate_size layers heads kv_heads head_size vocab_size")
        _positive(self, "max_positions")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} attention heads cannot share {self.kv_heads} key/value heads evenly")
        if self.head_size % 2:
            raise ConfigError(f"head_dim {self.head_size} must be even (rotary positions)")

    @property
    def kv_floats_per_token(self) -> int:
        return 2 * self.layers * self.kv_heads * self.head_size


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One checkpoint. `classes` is None for a recognizer and the number of time classes for an aligner."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    audio_token_id: int
    classes: int | None = None
    timestamp_token_id: int | None = None
    timestamp_ms: int = 80
    native_layout: bool = False

    def __post_init__(self) -> None:
        if self.encoder.output_size != self.decoder.hidden_size:
            raise ConfigError(
                f"audio output_dim {self.encoder.output_size} does not match the text hidden_size "
                f"{self.decoder.hidden_size}"
            )
        if not 0 <= self.audio_token_id < self.decoder.vocab_size:
            raise ConfigError(
                f"audio_token_id {self.audio_token_id} is outside the vocabulary of {self.decoder.vocab_size}"
            )

    @property
    def head_outputs(self) -> int:
        return self.decoder.vocab_size if self.classes is None else self.classes


def _positive(config: object, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a positive integer, got {value!r}")


class _Fields:
    """A JSON object whose fields may have several spellings; `where` names it in errors."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where} must be an object, got {type(values).__name__}")
        self._values: Mapping[str, object] = values
        self._where = where

    def child(self, name: str) -> _Fields:
        return _Fields(self.find(name), f"{self._where}.{name}")

    def find(self, *spellings: str) -> object:
        for name in spellings:
            value = self._values.get(name)
            if value is not None:
                return value
        raise ConfigError(f"{self._where} has no field {' or '.join(spellings)}")

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def integer(self, *spellings: str) -> int:
        value = self.find(*spellings)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{self._where}.{spellings[0]} must be an integer, got {value!r}")
        return value

    def number(self, *spellings: str) -> float:
        value = self.find(*spellings)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{self._where}.{spellings[0]} must be a number, got {value!r}")
        return float(value)

    def expect(self, name: str, *allowed: object) -> None:
        """Fail when the field is present with a value that this implementation does not compute."""
        if self.has(name) and self._values[name] not in allowed:
            raise ConfigError(
                f"{self._where}.{name} is {self._values[name]!r}, expected {' or '.join(map(repr, allowed))}"
            )


def _encoder(fields: _Fields) -> EncoderConfig:
    fields.expect("activation_function", "gelu")
    fields.expect("scale_embedding", False)
    chunk_frames = 2 * fields.integer("n_window")
    rolling = fields.has("attention_mode") and fields.find("attention_mode") == "rolling"
    return EncoderConfig(
        mel_bins=fields.integer("num_mel_bins"),
        hidden_size=fields.integer("d_model", "hidden_size"),
        layers=fields.integer("encoder_layers", "num_hidden_layers"),
        heads=fields.integer("encoder_attention_heads", "num_attention_heads"),
        ffn_size=fields.integer("encoder_ffn_dim", "intermediate_size"),
        output_size=fields.integer("output_dim"),
        conv_channels=fields.integer("downsample_hidden_size"),
        chunk_frames=chunk_frames,
        window_frames=fields.integer("n_window_infer"),
        attention_mode=_choice(fields, "attention_mode", "window"),  # type: ignore[arg-type]  # checked in __post_init__
        block_chunks=fields.integer("block_chunks") if fields.has("block_chunks") else 1,
        left_context_frames=round(fields.number("left_context_s") * FRAMES_PER_SECOND) if rolling else 0,
        positions=_choice(fields, "position_scheme", "chunk"),  # type: ignore[arg-type]  # checked in __post_init__
    )


def _choice(fields: _Fields, name: str, default: str) -> str:
    return str(fields.find(name)) if fields.has(name) else default


def _decoder(fields: _Fields, tied_head: bool) -> DecoderConfig:
    fields.expect("hidden_act", "silu")
    fields.expect("attention_bias", False)
    rope = fields.child("rope_parameters") if fields.has("rope_parameters") else fields
    return DecoderConfig(
        hidden_size=fields.integer("hidden_size"),
        intermediate_size=fields.integer("intermediate_size"),
        layers=fields.integer("num_hidden_layers"),
        heads=fields.integer("num_attention_heads"),
        kv_heads=fields.integer("num_key_value_heads"),
        head_size=fields.integer("head_dim"),
        vocab_size=fields.integer("vocab_size"),
        max_positions=fields.integer("max_position_embeddings"),
        rms_norm_eps=fields.number("rms_norm_eps"),
        rope_theta=rope.number("rope_theta"),
        tied_head=tied_head,
    )


def parse_config(values: object, where: str = "config.json") -> ModelConfig:
    """Read the object of a config.json in either layout.

    Raises ConfigError naming the field and what was expected.
    """
    top = _Fields(values, where)
    native = not top.has("thinker_config")
    body = top if native else top.child("thinker_config")
    text = body.child("text_config")
    classes = None
    if body.has("classify_num"):
        classes = body.integer("classify_num")
    elif top.has("id2label") and _is_aligner(top):
        classes = len(_Fields(top.find("id2label"), f"{where}.id2label")._values)
    tied = _tied(top, text) and classes is None
    return ModelConfig(
        encoder=_encoder(body.child("audio_config")),
        decoder=_decoder(text, tied),
        audio_token_id=body.integer("audio_token_id", "audio_token_index"),
        classes=classes,
        timestamp_token_id=top.integer("timestamp_token_id") if classes is not None else None,
        timestamp_ms=top.integer("timestamp_segment_time") if top.has("timestamp_segment_time") else 80,
        native_layout=native,
    )


def _is_aligner(top: _Fields) -> bool:
    architectures = top.find("architectures") if top.has("architectures") else ()
    names = architectures if isinstance(architectures, Sequence) else ()
    return any("TokenClassification" in str(name) for name in names)


def _tied(top: _Fields, text: _Fields) -> bool:
    """`tie_word_embeddings` stands beside the sizes (official) or at the top (native)."""
    for fields in (text, top):
        if fields.has("tie_word_embeddings"):
            return bool(fields.find("tie_word_embeddings"))
    raise ConfigError("config.json has no field tie_word_embeddings (in text_config or at the top)")


def read_config(path: Path) -> ModelConfig:
    """Read `path` (a config.json). Raises ConfigError; FileNotFoundError is left to the caller."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    return parse_config(values, str(path))
