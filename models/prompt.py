"""The conversation that the models were trained on: what stands around the audio, and how the answer reads.

A system turn with the context (always there, often empty), a user turn that holds the audio only, then the answer:
`language {Name}<asr_text>{text}<|im_end|>`; without speech `language None<asr_text><|im_end|>`. Knows ids by name only,
and no tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .config import ConfigError, ModelConfig
from .tokenizer import Tokenizer

NO_SPEECH = "None"
_TAG = "<asr_text>"
_HEADER = "language "
_OPEN_HEADER = re.compile(r"language \w*\s*(<\w*)?")  # what may yet become `language X<asr_text>`


@dataclass(frozen=True, slots=True)
class ParsedOutput:
    """An answer. `language` is None while it is not known, and when there is no speech.

    `token_ends` has an entry per token id: the length of the prefix of `text` that is complete after it.
    """

    text: str
    language: str | None
    token_ends: tuple[int, ...]


class Prompt:
    """Ids of everything but the audio, for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig) -> None:
        """Raises TokenizerError when a control token is missing, ConfigError when the two files contradict."""
        self._tokenizer = tokenizer
        self._turn_start, self._turn_end = tokenizer.id("<|im_start|>"), tokenizer.id("<|im_end|>")
        self._audio_start, self._audio_end = tokenizer.id("<|audio_start|>"), tokenizer.id("<|audio_end|>")
        self._text_tag = tokenizer.id(_TAG)
        self._newline = tokenizer.encode("\n")
        self.audio_pad_id = tokenizer.id("<|audio_pad|>")
        self.end_ids = frozenset({self._turn_end, tokenizer.id("<|endoftext|>")})
        if self.audio_pad_id != config.audio_token_id:
            raise ConfigError(
                f"config.json says audio_token_id {config.audio_token_id}, but the tokenizer's <|audio_pad|> is "
                f"{self.audio_pad_id}"
            )
        if tokenizer.size > config.decoder.vocab_size:
            raise ConfigError(
                f"the tokenizer has {tokenizer.size} ids, config.json a vocabulary of {config.decoder.vocab_size}"
            )

    def head(self, context: str) -> list[int]:
        """Ids before the audio. `context` stands verbatim in the system turn."""
        encode = self._tokenizer.encode
        return [
            self._turn_start,
            *encode(f"system\n{context}"),
            self._turn_end,
            *self._newline,
            self._turn_start,
            *encode("user\n"),
            self._audio_start,
        ]

    def suffix(self, language: str | None) -> list[int]:
        """Ids between the audio and the answer; a forced `language` (English name) is written for the model."""
        answer = "assistant\n" if language is None else f"assistant\n{_HEADER}{language}"
        return [
            self._audio_end,
            self._turn_end,
            *self._newline,
            self._turn_start,
            *self._tokenizer.encode(answer),
            *([] if language is None else [self._text_tag]),
        ]

    def language_prefixes(self, languages: Iterable[str]) -> list[list[int]]:
        """How an answer may begin when it is in one of `languages`, or has no speech: one id sequence for each."""
        return [
            [*self._tokenizer.encode(f"{_HEADER}{language}"), self._text_tag] for language in (*languages, NO_SPEECH)
        ]

    def tag_length(self, token_ids: Sequence[int]) -> int:
        """How many of an answer's ids make its language tag; 0 where it has none, or not a whole one."""
        return token_ids.index(self._text_tag) + 1 if self._text_tag in token_ids else 0

    def parse(self, token_ids: Sequence[int], forced_language: str | None) -> ParsedOutput:
        """Read an answer, whole or still growing, without its end token.

        As the official code does, but for its repetition fix: loops are cut while decoding. While the language tag is
        incomplete the text is empty. An answer that never had a tag is all text.
        """
        raw, ends = self._tokenizer.decode_with_ends(token_ids)
        if forced_language is not None:
            return _cut(raw, 0, ends, forced_language)
        tag = raw.find(_TAG)
        if tag >= 0:
            return _cut(raw, tag + len(_TAG), ends, _language(raw[:tag]))
        start = raw.lstrip()
        if _HEADER.startswith(start) or _OPEN_HEADER.fullmatch(start):
            return ParsedOutput("", None, (0,) * len(ends))
        return _cut(raw, 0, ends, None)


def _language(header: str) -> str | None:
    """Language named by the first line that begins with `language `; None for no speech or no such line."""
    for line in header.splitlines():
        words = line.strip()
        if words.lower().startswith(_HEADER):
            name = words[len(_HEADER) :].strip().capitalize()
            return name if name and name != NO_SPEECH else None
    return None


def _cut(raw: str, start: int, ends: Sequence[int], language: str | None) -> ParsedOutput:
    """The text from `start` on, without white space around it."""
    start += len(raw) - start - len(raw[start:].lstrip())
    text = raw[start:].rstrip()
    return ParsedOutput(text, language, tuple(min(max(end - start, 0), len(text)) for end in ends))
