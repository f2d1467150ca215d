"""Text to token ids and back: byte-level BPE with the Qwen2 pre-tokenizer.

Reads `tokenizer.json`, or `vocab.json` + `merges.txt` with the added tokens of `tokenizer_config.json`. Control tokens
exist by name only (`id`): spelling one inside a text gives ordinary tokens, so a text cannot forge a prompt. Knows no
prompt and no id by heart.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from .config import CheckpointError

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class TokenizerError(CheckpointError):
    """A tokenizer file is missing or broken, or lacks a token."""


class Tokenizer:
    """Vocabulary of one checkpoint; read-only after `load`."""

    def __init__(
        self,
        bpe: tokenizers.Tokenizer,
        added: Mapping[str, int],
        special: Iterable[int],
        source: Path,
    ) -> None:
        """`bpe` knows the ordinary tokens only; `added` are the control tokens, `special` those that are not text."""
        self._bpe = bpe
        self._added = dict(added)
        self._special = frozenset(special)
        self._source = source
        self._bytes = {token: content.encode() for content, token in self._added.items()}
        self._bytes.update((token, b"") for token in self._special)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read the tokenizer of a checkpoint folder. Raises TokenizerError naming the file and what was expected."""
        whole = folder / "tokenizer.json"
        if whole.is_file():
            return _from_whole(whole)
        vocab = folder / "vocab.json"
        if vocab.is_file():
            return _from_parts(folder)
        raise TokenizerError(f"{folder} has no tokenizer: expected tokenizer.json, or vocab.json and merges.txt")

    @property
    def size(self) -> int:
        """Number of ids: one more than the largest."""
        return 1 + max(-1, *self._bpe.get_vocab(with_added_tokens=False).values(), *self._added.values())

    def id(self, name: str) -> int:
        """Id of the token spelled `name`, such as `<|im_end|>`. Raises TokenizerError naming it and the file."""
        token = self._added.get(name)
        if token is None:
            token = self._bpe.token_to_id(name)
        if token is None:
            raise TokenizerError(f"{self._source} has no token {name!r}")
        return int(token)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; spellings of control tokens in it become ordinary tokens."""
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens give none, and an incomplete character at the end is held back."""
        return self.decode_with_ends(ids)[0]

    def decode_with_ends(self, ids: Iterable[int]) -> tuple[str, tuple[int, ...]]:
        """Text of `ids`, and for each id the length of the text that is complete after it.

        Bytes that can be no UTF-8 become U+FFFD; bytes that may still become a character are held back.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        parts: list[str] = []
        ends: list[int] = []
        length = 0
        for token in ids:
            part = decoder.decode(self._token_bytes(token))
            parts.append(part)
            length += len(part)
            ends.append(length)
        return "".join(parts), tuple(ends)

    def _token_bytes(self, token: int) -> bytes:
        known = self._bytes.get(token)
        if known is None:
            spelling = self._bpe.id_to_token(token)  # None: a row of the embedding that no token uses
            known = bytes(map(_BYTE_OF.__getitem__, spelling)) if spelling else b""
            self._bytes[token] = known
        return known


def _byte_spellings() -> dict[str, int]:
    """The character by which byte-level BPE writes each byte (GPT-2): itself if printable, else from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_spellings()


def _from_parts(folder: Path) -> Tokenizer:
    bpe = _build(folder)
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    config_path = folder / "tokenizer_config.json"
    listed = _read_object(config_path).get("added_tokens_decoder")
    if not isinstance(listed, dict):
        raise TokenizerError(f"{config_path} has no added_tokens_decoder: the control tokens are expected there")
    entries = [{"id": int(token), **entry} for token, entry in listed.items()]
    return _with_added(bpe, entries, config_path)


def _from_whole(path: Path) -> Tokenizer:
    """tokenizer.json, but for its added tokens, which would be recognised inside texts, and its post-processor."""
    values = _read_object(path)
    entries = values.get("added_tokens")
    if not isinstance(entries, list):
        raise TokenizerError(f"{path} has no added_tokens: the control tokens are expected there")
    plain = {**values, "added_tokens": [], "post_processor": None}
    try:
        bpe = tokenizers.Tokenizer.from_str(json.dumps(plain))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"{path} is no tokenizer: {error}") from error
    return _with_added(bpe, entries, path)


def _with_added(bpe: tokenizers.Tokenizer, entries: Iterable[Mapping[str, object]], path: Path) -> Tokenizer:
    added: dict[str, int] = {}
    special: list[int] = []
    for entry in entries:
        token, content = entry.get("id"), entry.get("content")
        if not isinstance(token, int) or not isinstance(content, str):
            raise TokenizerError(f"{path}: an added token is {dict(entry)!r}, expected an id and a content")
        added[content] = token
        if entry.get("special"):
            special.append(token)
    return Tokenizer(bpe, added, special, path)


def _build(folder: Path) -> tokenizers.Tokenizer:
    path = folder / "vocab.json"
    vocab = {}
    for spelling, token in _read_object(path).items():
        if not isinstance(token, int):
            raise TokenizerError(f"{path}: {spelling!r} has id {token!r}, expected an integer")
        vocab[spelling] = token
    merges = _read_merges(folder / "merges.txt")
    try:
        return tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"{path} does not fit its merges.txt: {error}") from error


def _read_object(path: Path) -> dict[str, object]:
    try:
        values = json.loads(_read(path))
    except ValueError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise TokenizerError(f"{path} holds a {type(values).__name__}, expected an object")
    return values


def _read_merges(path: Path) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.startswith("#version") or not line.strip():
            continue
        left, _, right = line.rstrip("\r").partition(" ")
        if not right or " " in right:
            raise TokenizerError(f"{path}, line {number}: {line!r}, expected two tokens with a space between")
        merges.append((left, right))
    return merges


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}") from error
