"""A small byte-level BPE vocabulary in the official layout, special tokens under the official names.

Writes vocab.json, merges.txt and tokenizer_config.json. Ids are its own: whoever reads a checkpoint
looks them up by name.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

# The pre-tokeniser of Qwen2 (transformers, models/qwen2/tokenization_qwen2.py).
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# name -> "special" flag of the official tokenizer_config.json; <asr_text> must survive decoding.
ADDED_TOKENS = {
    "<|endoftext|>": True,
    "<|im_start|>": True,
    "<|im_end|>": True,
    "<|audio_start|>": True,
    "<|audio_end|>": True,
    "<non_speech>": False,
    "<|audio_pad|>": True,
    "<asr_text>": False,
}


def write_vocabulary(texts: Iterable[str], folder: Path, size: int) -> int:
    """Learn `size` entries (256 bytes included) from `texts` and write the three files.

    Returns the number of ids, added tokens included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.model.save(scratch)
        for name in ("vocab.json", "merges.txt"):
            (folder / name).write_bytes((Path(scratch) / name).read_bytes())
    first = tokenizer.get_vocab_size()
    added = {
        str(first + i): {
            "content": name,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": special,
        }
        for i, (name, special) in enumerate(ADDED_TOKENS.items())
    }
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": [n for n, special in ADDED_TOKENS.items() if special],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return first + len(added)


def load_vocabulary(folder: Path) -> Tokenizer:
    """The tokenizer of a folder written by `write_vocabulary`."""
    model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for entry in config["added_tokens_decoder"].values():
        token = AddedToken(entry["content"], normalized=False, special=entry["special"])
        tokenizer.add_special_tokens([token]) if entry["special"] else tokenizer.add_tokens([token])
    return tokenizer


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def token_id(tokenizer: Tokenizer, name: str) -> int:
    """The id of a token by name; ValueError when the vocabulary lacks it."""
    number = tokenizer.token_to_id(name)
    if number is None:
        raise ValueError(f"the vocabulary has no token {name}")
    return int(number)
