"""Write a random checkpoint of any size: for tests, benchmarks and whoever has no network.

    python scripts/make_checkpoint.py FOLDER --size 0.6b|1.7b|aligner [--layout official|native] [--shards N] [--seed N]

The layouts are spelled out here from the published files, not taken from `steno.models`, so that a test of the loader
tests something. The tokenizer is a small one of bytes and a few merges with the real control tokens: at their real ids
when the vocabulary has room for them, else behind the text tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

Layout = Literal["official", "native"]

FIRST_CONTROL_ID = 151643
MERGE_SOURCE = (
    "system user assistant language English Chinese German French None hello world the cat sat on a mat "
    "one two three four five six seven eight nine zero please turn the lights off in the kitchen 你好 世界 今天 天气"
)
SPECIAL_TOKENS = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
TEXT_TOKENS = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> "
    "<tool_response> </tool_response> <think> </think>"
).split()
AUDIO_TOKENS = (
    "<|audio_start|> <|audio_end|> <tts_pad> <tts_text_bos> <tts_text_eod> <tts_text_bos_single> <non_speech> "
    "<|audio_pad|>"
).split()
BLANKS = [f"<blank{number}>" for number in range(1, 28)]
CONTROL_TOKENS = [*SPECIAL_TOKENS, *TEXT_TOKENS, *AUDIO_TOKENS, *BLANKS, "<asr_text>"]  # in the order of their ids
NOT_SPECIAL = {*TEXT_TOKENS, "<non_speech>", "<asr_text>"}


@dataclass(frozen=True, slots=True)
class Size:
    """Shapes of a checkpoint; `classes` makes it a forced aligner."""

    audio_hidden: int
    audio_layers: int
    audio_heads: int
    audio_ffn: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    positions: int
    classes: int | None = None
    tied: bool = True
    conv_channels: int = 480
    window_frames: int = 800


SIZES = {
    "0.6b": Size(896, 18, 14, 3584, 1024, 3072, 28, 16, 8, 128, 151936, 65536),
    "1.7b": Size(1024, 24, 16, 4096, 2048, 6144, 28, 16, 8, 128, 151936, 65536),
    "aligner": Size(1024, 24, 16, 4096, 1024, 3072, 28, 16, 8, 128, 152064, 8192, classes=5000, tied=False),
}


def audio_shapes(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Official names below `thinker.audio_tower.` and shapes."""
    d, c, ffn = size.audio_hidden, size.conv_channels, size.audio_ffn
    for name, inputs in (("conv2d1", 1), ("conv2d2", c), ("conv2d3", c)):
        yield f"{name}.weight", (c, inputs, 3, 3)
        yield f"{name}.bias", (c,)
    yield "conv_out.weight", (d, c * 16)
    linears = [(f"self_attn.{p}_proj", d, d) for p in "q k v out".split()] + [("fc1", ffn, d), ("fc2", d, ffn)]
    for layer in range(size.audio_layers):
        for name, out, inputs in linears:
            yield f"layers.{layer}.{name}.weight", (out, inputs)
            yield f"layers.{layer}.{name}.bias", (out,)
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            yield f"layers.{layer}.{name}.weight", (d,)
            yield f"layers.{layer}.{name}.bias", (d,)
    for name, shape in (("ln_post", (d,)), ("proj1", (d, d)), ("proj2", (size.hidden, d))):
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]


def text_shapes(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Official names below `thinker.model.` and shapes."""
    h, inner = size.hidden, size.intermediate
    q, kv = size.heads * size.head_dim, size.kv_heads * size.head_dim
    yield "embed_tokens.weight", (size.vocab, h)
    for layer in range(size.layers):
        for name, shape in (
            ("self_attn.q_proj", (q, h)),
            ("self_attn.k_proj", (kv, h)),
            ("self_attn.v_proj", (kv, h)),
            ("self_attn.o_proj", (h, q)),
            ("self_attn.q_norm", (size.head_dim,)),
            ("self_attn.k_norm", (size.head_dim,)),
            ("mlp.gate_proj", (inner, h)),
            ("mlp.up_proj", (inner, h)),
            ("mlp.down_proj", (h, inner)),
            ("input_layernorm", (h,)),
            ("post_attention_layernorm", (h,)),
        ):
            yield f"layers.{layer}.{name}.weight", shape
    yield "norm.weight", (h,)


def shapes(size: Size, layout: Layout, *, store_head: bool = True) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint in one layout."""
    audio, text = dict(audio_shapes(size)), dict(text_shapes(size))
    head = (size.classes or size.vocab, size.hidden)
    with_head = store_head or not size.tied
    if layout == "official":
        found = {f"thinker.audio_tower.{name}": shape for name, shape in audio.items()}
        found |= {f"thinker.model.{name}": shape for name, shape in text.items()}
        return found | ({"thinker.lm_head.weight": head} if with_head else {})
    projector = {"proj1": "linear_1", "proj2": "linear_2"}
    found = {}
    for name, shape in audio.items():
        module, _, rest = name.partition(".")
        moved = f"multi_modal_projector.{projector[module]}" if module in projector else f"audio_tower.{module}"
        found[f"model.{moved}.{rest}"] = shape
    found |= {f"model.language_model.{name}": shape for name, shape in text.items()}
    return found | ({"score.weight" if size.classes else "lm_head.weight": head} if with_head else {})


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """The tensor of official `name`: activations stay near 1, and greedy answers vary from step to step."""
    noise = torch.empty(shape, dtype=dtype).normal_(generator=generator)
    if name.endswith(".bias"):
        return noise.mul_(0.1)
    if len(shape) == 1:
        sharp = 2.0 if "q_norm" in name or "k_norm" in name else 1.0  # attention that picks, so answers vary
        return noise.mul_(0.1).add_(1.0).mul_(sharp)
    if "embed_tokens" in name or "lm_head" in name:
        return noise.mul_(shape[1] ** -0.5)
    fan_in = shape[1] * shape[2] * shape[3] if len(shape) == 4 else shape[1]
    gain = 2.0 if ".model." in name else 1.4
    return noise.mul_(gain * fan_in**-0.5)


def write_weights(
    folder: Path,
    size: Size,
    layout: Layout,
    *,
    seed: int = 0,
    shards: int = 1,
    store_head: bool = True,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Seeded weights, one shard in memory at a time. The same seed gives both layouts the same values."""
    official = list(shapes(size, "official", store_head=store_head))
    names = shapes(size, layout, store_head=store_head)
    generator = torch.Generator().manual_seed(seed)
    per_shard = -(-len(names) // shards)
    weight_map: dict[str, str] = {}
    total = 0
    embedding: Tensor | None = None
    pairs = list(zip(official, names.items(), strict=True))
    for number in range(shards):
        tensors: dict[str, Tensor] = {}
        for official_name, (name, shape) in pairs[number * per_shard : (number + 1) * per_shard]:
            if size.tied and official_name == "thinker.lm_head.weight" and embedding is not None:
                tensors[name] = embedding.clone()
                continue
            tensors[name] = random_tensor(official_name, shape, generator, dtype)
            if official_name == "thinker.model.embed_tokens.weight":
                embedding = tensors[name]
        file = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    if shards > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def config_values(size: Size, layout: Layout, ids: dict[str, int]) -> dict[str, object]:
    """config.json in one layout; `ids` are those of the control tokens."""
    native = layout == "native"
    audio: dict[str, object] = {
        "model_type": "qwen3_asr_encoder" if native else "qwen3_asr_audio_encoder",
        "num_mel_bins": 128,
        "d_model": size.audio_hidden,
        "encoder_layers": size.audio_layers,
        "encoder_attention_heads": size.audio_heads,
        "encoder_ffn_dim": size.audio_ffn,
        "output_dim": size.hidden,
        "downsample_hidden_size": size.conv_channels,
        "n_window": 50,
        "n_window_infer": size.window_frames,
        "activation_function": "gelu",
        "scale_embedding": False,
    }
    audio |= {"max_position_embeddings": 13} if native else {"max_source_positions": 1500, "conv_chunksize": 500}
    rope: dict[str, object] = (
        {"rope_parameters": {"rope_theta": 1_000_000, "rope_type": "default"}}
        if native
        else {
            "rope_theta": 1_000_000,
            "rope_scaling": {
                "rope_type": "default",
                "mrope_section": [24, 20, 20],
                "interleaved": True,
                "mrope_interleaved": True,
            },
        }
    )
    text = {
        "model_type": "qwen3",
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_dim,
        "vocab_size": size.vocab,
        "max_position_embeddings": size.positions,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": size.tied,
        **rope,
    }
    body: dict[str, object] = {"audio_config": audio, "text_config": text, "audio_token_id": ids["<|audio_pad|>"]}
    aligner = size.classes is not None
    stamps: dict[str, object] = {"timestamp_token_id": ids["<timestamp>"]} if aligner else {}
    if native:
        kind = "TokenClassification" if aligner else "ConditionalGeneration"
        labels = {str(n): f"LABEL_{n}" for n in range(size.classes or 0)}
        return {
            "architectures": [f"Qwen3ASRFor{kind}"],
            "model_type": "qwen3_asr",
            **body,
            **stamps,
            **({"id2label": labels, "label2id": {name: int(n) for n, name in labels.items()}} if aligner else {}),
            "pad_token_id": ids["<|im_end|>"],
            "eos_token_id": [ids["<|endoftext|>"], ids["<|im_end|>"]],
            "tie_word_embeddings": size.tied,
        }
    thinker = {
        "model_type": "qwen3_forced_aligner" if aligner else "qwen3_asr",
        **body,
        "audio_start_token_id": ids["<|audio_start|>"],
        "audio_end_token_id": ids["<|audio_end|>"],
        **({"classify_num": size.classes} if aligner else {}),
    }
    return {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "thinker_config": thinker,
        **stamps,
        **({"timestamp_segment_time": 80} if aligner else {}),
    }


def write_tokenizer(folder: Path, layout: Layout, vocab: int, *, aligner: bool = False) -> dict[str, int]:
    """A byte-level tokenizer in a layout's files; returns the ids of the control tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([MERGE_SOURCE] * 2, trainer)
    controls = [*CONTROL_TOKENS, "<timestamp>"] if aligner else CONTROL_TOKENS
    first = FIRST_CONTROL_ID if vocab > FIRST_CONTROL_ID + len(controls) else int(tokenizer.get_vocab_size())
    ids = {name: first + number for number, name in enumerate(controls)}
    if max(ids.values()) >= vocab:
        raise ValueError(f"a vocabulary of {vocab} has no room for the tokenizer's {max(ids.values()) + 1} ids")
    values = json.loads(tokenizer.to_str())
    added = [
        {**_flags(name), "id": token, "content": name, "special": name not in NOT_SPECIAL}
        for name, token in ids.items()
    ]
    if layout == "native":
        (folder / "tokenizer.json").write_text(json.dumps({**values, "added_tokens": added}), encoding="utf-8")
        return ids
    merges = [" ".join(pair) for pair in values["model"]["merges"]]
    (folder / "vocab.json").write_text(json.dumps(values["model"]["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    decoder = {str(entry.pop("id")): entry for entry in added}
    tokenizer_config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": decoder}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1), encoding="utf-8")
    return ids


def _flags(name: str) -> dict[str, object]:
    token = AddedToken(name)
    return {"lstrip": token.lstrip, "rstrip": token.rstrip, "normalized": False, "single_word": token.single_word}


def write_checkpoint(
    folder: Path,
    size: Size,
    layout: Layout = "official",
    *,
    seed: int = 0,
    shards: int = 1,
    store_head: bool = True,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """A whole checkpoint folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = write_tokenizer(folder, layout, size.vocab, aligner=size.classes is not None)
    (folder / "config.json").write_text(json.dumps(config_values(size, layout, ids), indent=1))
    write_weights(folder, size, layout, seed=seed, shards=shards, store_head=store_head, dtype=dtype)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a random checkpoint.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="0.6b")
    parser.add_argument("--layout", choices=("official", "native"), default="official")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_checkpoint(
        arguments.folder, SIZES[arguments.size], arguments.layout, seed=arguments.seed, shards=arguments.shards
    )
    print(arguments.folder)


if __name__ == "__main__":
    main()
