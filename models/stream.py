"""One utterance as the recognizer sees it: what is asked for, what is heard so far, and what comes out.

Values and state only; `recognizer` is the one who changes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .decoding import Allowed, DecoderCounters
from .encoder_stream import EncoderCounters, EncoderStream


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Of one utterance. Languages are names or codes of the table; `languages` restricts detection to a set."""

    language: str | None = None
    languages: tuple[str, ...] = ()
    context: str = ""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model says of an utterance so far.

    `token_ids` is everything generated, without the end token; `token_ends[i]` the length of the part of `text` made of
    whole characters after token i (0 for the language tag); `logprobs` natural, one per token. `samples_seen`: samples
    fed when audio was last encoded; an encoder that takes blocks leaves it where it was until the next one is whole.
    `truncated`: cut at the token limit or at a repetition loop.
    """

    stream_id: int
    token_ids: tuple[int, ...]
    text: str
    language: str | None
    token_ends: tuple[int, ...]
    logprobs: tuple[float, ...]
    samples_seen: int
    final: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class Transcription:
    """Offline result; fields as in `Hypothesis`. Long audio: tokens of all pieces in a row, languages joined by ','."""

    text: str
    language: str | None
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool
    duration_s: float


@dataclass(slots=True)
class Frozen:
    """Text whose audio the decoder is not given any more: `tokens` belong behind the first `place` of the stream's."""

    place: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class StreamState:
    """One utterance. Made by `Recognizer.open`; its fields are the recognizer's."""

    stream_id: int
    options: StreamOptions
    slot: int
    audio: EncoderStream
    head: list[int]
    suffix: list[int]
    language: str | None
    allowed: Allowed | None
    max_new_tokens: int | None = None
    audio_lengths: list[int] = field(default_factory=list)  # tokens of each closed piece that the slot holds
    prefilled: bool = False  # the slot holds the head
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    truncated: bool = False
    pinned: int = 0
    ended: bool = False  # no more audio will be fed
    finished: bool = False  # the final hypothesis is out
    births: list[int] = field(default_factory=list)  # samples fed when each token first stood there
    frozen: Frozen = field(default_factory=Frozen)
    context_start: int = 0  # sample where the audio begins that the decoder is given
    counters: DecoderCounters = field(default_factory=DecoderCounters)
    samples_fed: int = 0
    samples_heard: int = 0  # those fed when audio was last encoded: what the tokens are told from

    def take(self, tokens: list[int], logprobs: list[float], *, truncated: bool) -> None:
        """What the decoder says now."""
        pairs = enumerate(zip(self.tokens, tokens, strict=False))
        same = next((i for i, (before, now) in pairs if before != now), min(len(self.tokens), len(tokens)))
        self.births = self.births[:same] + [self.samples_fed] * (len(tokens) - same)
        self.tokens, self.logprobs, self.truncated = tokens, logprobs, truncated

    def spoken(self) -> tuple[list[int], list[float]]:
        """Tokens and log-probabilities of the whole utterance, with what is frozen in its place."""
        place = self.frozen.place
        tokens = [*self.tokens[:place], *self.frozen.tokens, *self.tokens[place:]]
        return tokens, [*self.logprobs[:place], *self.frozen.logprobs, *self.logprobs[place:]]

    @property
    def encoder_counters(self) -> EncoderCounters:
        return self.audio.counters

    @property
    def kept_tokens(self) -> int:
        """What the slot holds between steps: the head and the closed audio."""
        return len(self.head) + sum(self.audio_lengths) if self.prefilled else 0
