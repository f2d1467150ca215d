"""The shape of steno-tiny as the official config.json, and the checkpoint folder around it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from .vocabulary import token_id

BINS = 80
HIDDEN = 256
LEFT_CONTEXT_S = 4  # of the declared rolling mode; training draws 1..8


def config_values(tokenizer: Tokenizer) -> dict[str, object]:
    """The object of config.json, with the ids of the given vocabulary."""
    vocabulary = tokenizer.get_vocab_size(with_added_tokens=True)

    audio = {
        "model_type": "qwen3_asr_audio_encoder",
        "num_mel_bins": BINS,
        "d_model": HIDDEN,
        "encoder_layers": 6,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 768,
        "output_dim": HIDDEN,
        "downsample_hidden_size": 32,
        "n_window": 50,
        "n_window_infer": 800,
        "conv_chunksize": 500,
        "max_source_positions": 1500,
        "activation_function": "gelu",
        "scale_embedding": False,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "attention_mode": "rolling",
        "left_context_s": LEFT_CONTEXT_S,
        "block_chunks": 1,
        "position_scheme": "running",
    }
    text = {
        "model_type": "qwen3",
        "hidden_size": HIDDEN,
        "intermediate_size": 768,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
    }
    return {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "support_languages": ["English", "Spanish", "Chinese"],
        "thinker_config": {
            "model_type": "qwen3_asr",
            "audio_config": audio,
            "text_config": text,
            "audio_token_id": token_id(tokenizer, "<|audio_pad|>"),
            "audio_start_token_id": token_id(tokenizer, "<|audio_start|>"),
            "audio_end_token_id": token_id(tokenizer, "<|audio_end|>"),
            "dtype": "bfloat16",
            "initializer_range": 0.02,
        },
        "transformers_version": "4.57.6",
    }


def write_checkpoint(folder: Path, vocabulary: Path, tokenizer: Tokenizer, weights: Mapping[str, Tensor]) -> None:
    """Write the official layout: weights under `thinker.` in bfloat16, the head not stored (tied)."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", config_values(tokenizer))
    end, pad = (token_id(tokenizer, n) for n in ("<|im_end|>", "<|endoftext|>"))
    generation = {"do_sample": False, "eos_token_id": [end, pad], "pad_token_id": pad}
    _write(folder / "generation_config.json", generation | {"max_new_tokens": 512})
    extractor = {
        "chunk_length": 30,
        "dither": 0.0,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": BINS,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "Qwen3ASRProcessor",
        "return_attention_mask": True,
        "sampling_rate": 16000,
    }
    _write(folder / "preprocessor_config.json", extractor)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copyfile(vocabulary / name, folder / name)
    tensors = {
        f"thinker.{name}": tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in weights.items()
        if name != "lm_head.weight"
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def _write(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
