"""config.json in both layouts gives the same shapes; what is missing or not computed here is an error that names it."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.make_checkpoint import CONTROL_TOKENS, SIZES, Layout, config_values
from steno.models.config import ConfigError, EncoderConfig, parse_config, read_config
from tests.tiny import ALIGNER, SMALL

IDS = {name: number for number, name in enumerate([*CONTROL_TOKENS, "<timestamp>"])}


def values(layout: Layout, size: str = "") -> dict[str, Any]:
    return config_values(SIZES[size] if size else SMALL, layout, IDS)


@pytest.mark.parametrize("size", list(SIZES))
def test_both_layouts_say_the_same(size: str) -> None:
    official, native = parse_config(values("official", size)), parse_config(values("native", size))
    assert native.native_layout
    assert dataclasses.replace(native, native_layout=False) == official


def test_true_sizes() -> None:
    small, large = parse_config(values("official", "0.6b")), parse_config(values("official", "1.7b"))
    aligner = parse_config(values("official", "aligner"))
    assert (small.encoder.hidden_size, small.encoder.layers, small.decoder.hidden_size) == (896, 18, 1024)
    assert (large.encoder.hidden_size, large.encoder.layers, large.decoder.hidden_size) == (1024, 24, 2048)
    assert (aligner.encoder.hidden_size, aligner.encoder.layers, aligner.decoder.hidden_size) == (1024, 24, 1024)
    assert (aligner.classes, aligner.timestamp_ms, aligner.head_outputs) == (5000, 80, 5000)
    assert small.decoder.tied_head
    assert not aligner.decoder.tied_head
    assert small.head_outputs == 151936


@pytest.mark.parametrize(
    ("frames", "tokens"),
    [(0, 0), (1, 1), (8, 1), (9, 2), (50, 7), (73, 10), (99, 13), (100, 13), (101, 14), (800, 104), (6000, 780)],
)
def test_tokens_of_frames(frames: int, tokens: int) -> None:
    encoder = parse_config(values("official")).encoder
    assert encoder.tokens(frames) == tokens
    assert encoder.chunk_tokens == 13
    assert encoder.window_tokens == 104


NATIVE_SPELLINGS = {
    "d_model": "hidden_size",
    "encoder_layers": "num_hidden_layers",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size",
}


@pytest.mark.parametrize(("old", "new"), list(NATIVE_SPELLINGS.items()))
def test_both_spellings(old: str, new: str) -> None:
    native = values("native")
    expected = parse_config(native)
    native["audio_config"][new] = native["audio_config"].pop(old)
    assert parse_config(native) == expected


REQUIRED = [
    *(("audio_config", name) for name in (*NATIVE_SPELLINGS, "num_mel_bins", "output_dim", "downsample_hidden_size")),
    *(("audio_config", name) for name in ("n_window", "n_window_infer")),
    *(("text_config", name) for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "head_dim")),
    *(("text_config", name) for name in ("num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps")),
    *(("text_config", name) for name in ("max_position_embeddings", "rope_theta")),
]


@pytest.mark.parametrize(("section", "name"), REQUIRED)
def test_nothing_has_a_default(section: str, name: str) -> None:
    official = values("official")
    del official["thinker_config"][section][name]
    with pytest.raises(ConfigError, match=rf"{section} has no field {name}"):
        parse_config(official)


@pytest.mark.parametrize(
    ("section", "change", "complaint"),
    [
        ("audio_config", {"activation_function": "relu"}, r"activation_function is 'relu', expected 'gelu'"),
        ("audio_config", {"scale_embedding": True}, r"scale_embedding is True, expected False"),
        ("audio_config", {"d_model": 33}, r"d_model 33 is not a multiple of 4 heads"),
        ("audio_config", {"n_window_infer": 150}, r"n_window_infer 150 is not a multiple of the chunk of 100"),
        ("audio_config", {"output_dim": 49}, r"output_dim 49 does not match the text hidden_size 48"),
        ("audio_config", {"encoder_layers": 0}, r"layers must be a positive integer, got 0"),
        ("audio_config", {"encoder_layers": "2"}, r"encoder_layers must be an integer, got '2'"),
        ("audio_config", {"attention_mode": "wide"}, r"attention_mode 'wide': expected 'window' or 'rolling'"),
        ("text_config", {"hidden_act": "gelu"}, r"hidden_act is 'gelu', expected 'silu'"),
        ("text_config", {"attention_bias": True}, r"attention_bias is True, expected False"),
        ("text_config", {"num_key_value_heads": 3}, r"4 attention heads cannot share 3 key/value heads"),
        ("text_config", {"head_dim": 15}, r"head_dim 15 must be even"),
        ("text_config", {"vocab_size": 3}, r"audio_token_id \d+ is outside the vocabulary of 3"),
    ],
)
def test_contradictions(section: str, change: dict[str, object], complaint: str) -> None:
    official = copy.deepcopy(values("official"))
    official["thinker_config"][section] |= change
    with pytest.raises(ConfigError, match=complaint):
        parse_config(official)


def test_rolling_attention_of_a_checkpoint() -> None:
    official = values("official")
    rolling = {"attention_mode": "rolling", "block_chunks": 2, "left_context_s": 5, "position_scheme": "running"}
    official["thinker_config"]["audio_config"] |= rolling
    encoder: EncoderConfig = parse_config(official).encoder
    assert (encoder.attention_mode, encoder.block_tokens, encoder.left_context_tokens) == ("rolling", 26, 65)
    assert encoder.positions == "running"


@pytest.mark.parametrize("left_frames", [4, 50, 100, 150, 156, 300, 500, 800])
@pytest.mark.parametrize("chunk_frames", [100, 192])
def test_left_context_counts_the_tokens_that_start_within_it(left_frames: int, chunk_frames: int) -> None:
    encoder = dataclasses.replace(
        parse_config(values("official")).encoder,
        chunk_frames=chunk_frames,
        window_frames=chunk_frames,
        left_context_frames=left_frames,
    )
    border = 20 * chunk_frames
    starts = [chunk * chunk_frames + frame for chunk in range(20) for frame in range(0, chunk_frames, 8)]
    assert encoder.left_context_tokens == sum(start >= border - left_frames for start in starts)


@pytest.mark.parametrize("layout", ["official", "native"])
def test_aligner_of_either_layout(layout: Layout) -> None:
    config = parse_config(config_values(ALIGNER, layout, IDS))
    assert (config.classes, config.timestamp_token_id) == (120, IDS["<timestamp>"])


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is not JSON"):
        read_config(path)
    path.write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match=r"config\.json must be an object, got list"):
        read_config(path)
