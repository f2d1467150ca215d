"""Speech to tokens: one set of weights, any number of utterances stepped together.

`open / feed / step / close` over `StreamState`, and offline `transcribe` through the same step. The draft check lives
here: each step offers the previous hypothesis to the model, which confirms or corrects it. Knows no sessions, VAD,
sockets or wall time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from .accelerator import make_pool, make_recorder, use_exact_float32
from .checkpoint import resolve_source
from .config import FRAMES_PER_SECOND, AttentionMode, EncoderConfig
from .context_limit import ContextLimit
from .decoding import Allowed, Decoder, DecodeRow, HostDecoder, RowInput
from .device import choose_device
from .device_decoding import DeviceDecoder
from .encoder_stream import EncoderStreams
from .kv_cache import KVCache, Slots
from .languages import CODES, resolve
from .long_audio import MAX_PIECE_S, SEARCH_S, batches, join, split_long
from .mel import MIN_SAMPLES, SAMPLE_RATE, MelTransform, Samples, log_mel
from .network import Network
from .numeric import NumericMode, choose_mode
from .packing import load_ready
from .prompt import Prompt
from .slot_pool import CacheFull, SlotPool
from .stream import Hypothesis, StreamOptions, StreamState, Transcription
from .tokenizer import Tokenizer

__all__ = ["CacheFull", "Hypothesis", "Recognizer", "StreamOptions", "StreamState", "Transcription"]

MAX_TOKENS_PER_SECOND = 16  # well above any speech (about 4 in English, 8 in Chinese, 12 in byte-coded scripts)
MAX_TOKENS_BASE = 24  # language tag, and room for very short clips


class Recognizer:
    """Weights (read-only after load) and the slots of the open utterances. Not thread-safe: one thread steps it."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        *,
        name: str,
        mode: NumericMode | None = None,
        draft: bool = True,
        context_limit_s: int | None = None,
        pool: SlotPool | None = None,
    ) -> None:
        """`mode`: how the network computes; None takes that of its weights. `context_limit_s` as in `load`. `pool`:
        slots made beforehand, as an accelerator wants them; None lets them grow.

        Raises ValueError for a forced aligner, or a limit that is too short.
        """
        if network.config.classes is not None:
            raise ValueError(f"{name} is a forced aligner: expected a speech recognition checkpoint")
        mode = mode or choose_mode(network.dtype, network.device)
        self.name = name
        self.numeric_mode = mode.name
        self.network = network
        self.tokenizer = tokenizer
        self.prompt = Prompt(tokenizer, network.config)
        self.languages: tuple[str, ...] = tuple(CODES)
        self._draft = draft
        self._limit = None if context_limit_s is None else ContextLimit(context_limit_s)
        self._transform = MelTransform.create(network.config.encoder.mel_bins, network.device)
        recorder = make_recorder(network.device) if pool is not None else None
        self._encoder = EncoderStreams(network.audio_tower, self._transform, recorder)
        self.pool = pool
        self._cache: Slots = pool or KVCache(network.config.decoder, dtype=mode.cache, device=network.device)
        self.decoder: Decoder = (
            HostDecoder(network, self._cache, self.prompt.end_ids)
            if pool is None
            else DeviceDecoder(network, pool, self.prompt.end_ids, recorder=recorder)
        )
        self._streams: dict[int, StreamState] = {}
        self._next_id = 0

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str = "cpu",
        dtype: str | torch.dtype = torch.float32,
        window_s: int | None = None,
        attention: AttentionMode | None = None,
        context_limit_s: int | None = None,
        memory: int | None = None,
        revision: str | None = None,
        offline: bool = False,
        progress: bool = True,
    ) -> Recognizer:
        """Load a folder, a hub id, or "tiny" (the bundled model).

        `dtype` is a mode of `numeric`, `auto` or a torch type; `numeric_mode` tells what was taken. `window_s` (1..8)
        and `attention` override what the checkpoint declares. `context_limit_s` (8 or more) bounds the audio that the
        decoder is given in streaming, see `context_limit`; finals of longer utterances are then not those of offline.
        `memory`: bytes that may be taken on an accelerator, None for what is free. Raises CheckpointError, ValueError
        for another argument.
        """
        device = choose_device(device)
        if memory is not None and torch.device(device).type == "cpu":
            raise ValueError("memory is for an accelerator: on a CPU, slots grow and shrink with the streams")
        folder = resolve_source(source, revision=revision, offline=offline, progress=progress)
        network, mode = load_ready(folder, device=device, dtype=dtype)
        network.audio_tower.config = _override(network.config.encoder, window_s, attention)
        use_exact_float32(network.device)
        pool = make_pool(network, mode.cache, memory) if network.device.type == "cuda" else None
        tokenizer = Tokenizer.load(folder)
        return cls(network, tokenizer, name=str(source), mode=mode, context_limit_s=context_limit_s, pool=pool)

    def warm_up(self) -> None:
        """Do once what would delay the first streams, as recording graphs. Nothing on a CPU."""
        self._encoder.warm_up()
        self.decoder.warm_up()

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def slots(self) -> int | None:
        """Streams that may be open together, long ones not counted; None: as many as memory holds."""
        return None if self.pool is None else self.pool.slots

    @property
    def encoder_config(self) -> EncoderConfig:
        """With the overrides of `load`."""
        return self.network.audio_tower.config

    @property
    def cache_bytes(self) -> int:
        """Bytes reserved for keys and values."""
        return self._cache.reserved_bytes

    def open(self, options: StreamOptions | None = None, *, max_new_tokens: int | None = None) -> StreamState:
        """Begin an utterance.

        Raises ValueError for an unknown language, a token limit below 1, or a context that does not fit the model;
        CacheFull when all slots of an accelerator are taken.
        """
        if max_new_tokens is not None and max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}: expected at least 1")
        options = options or StreamOptions()
        language = resolve(options.language) if options.language is not None else None
        languages = [resolve(name) for name in options.languages]
        head = self.prompt.head(options.context)
        room = self.network.config.decoder.max_positions
        if len(head) > room // 2:
            raise ValueError(f"context of {len(head)} tokens: expected at most {room // 2}")
        stream = StreamState(
            stream_id=self._next_id,
            options=options,
            slot=self._cache.open(),
            audio=self._encoder.open(),
            head=head,
            suffix=self.prompt.suffix(language),
            language=language,
            allowed=_one_of(self.prompt.language_prefixes(languages)) if languages and not language else None,
            max_new_tokens=max_new_tokens,
        )
        self._next_id += 1
        self._streams[stream.stream_id] = stream
        return stream

    def feed(self, stream: StreamState, samples: Samples, *, final: bool = False) -> None:
        """Queue float32 mono 16 kHz samples `[n]`; `final` ends the utterance. Cheap: `step` computes.

        Raises ValueError after `final`, or for samples that are not finite float32 mono.
        """
        if stream.ended:
            raise ValueError(f"audio fed to stream {stream.stream_id} after its end")
        stream.audio.mel.feed(samples)
        stream.samples_fed += samples.size
        stream.ended = final

    def pin(self, stream: StreamState, tokens: int) -> None:
        """Keep the first `tokens` of the last hypothesis whatever the model says later (append-only consumers)."""
        frozen = len(stream.frozen.tokens)
        lowest, highest = frozen + stream.pinned, frozen + len(stream.tokens)
        if not lowest <= tokens <= highest:
            raise ValueError(f"cannot pin {tokens} tokens: expected {lowest} to {highest} (the last hypothesis)")
        stream.pinned = tokens - frozen

    def close(self, stream: StreamState) -> None:
        """Free the utterance's slot. Closing twice is allowed."""
        if self._streams.pop(stream.stream_id, None) is not None:
            self._cache.close(stream.slot)

    @torch.inference_mode()
    def step(self, streams: Sequence[StreamState]) -> list[Hypothesis]:
        """Bring each stream's hypothesis up to the audio fed so far, all in shared passes.

        Work per stream is bounded by its open window and its text. Streams whose audio has ended give their final.
        Before 0.5 s of audio the hypothesis is empty. Raises ValueError for a stream that is closed, finished or given
        twice.
        """
        self._check(streams)
        ready = [s for s in streams if s.ended or s.samples_fed >= MIN_SAMPLES]
        if ready:
            self._encoder.advance([s.audio for s in ready], [s.ended for s in ready])
        news = [stream for stream in ready if self._has_news(stream)]
        if self._limit is not None:
            for stream in news:
                self._limit.apply(stream, self.encoder_config, self.prompt.tag_length(stream.tokens))
        self._decode(news)
        for stream in news:
            stream.samples_heard = stream.samples_fed
        return [self._publish(stream) for stream in streams]

    @staticmethod
    def _has_news(stream: StreamState) -> bool:
        """Whether the step encoded audio that the last hypothesis has not heard."""
        audio = stream.audio
        changed = audio.changed_from is not None or len(audio.closed) > len(stream.audio_lengths)
        return stream.ended or audio.open is not None or changed

    def _check(self, streams: Sequence[StreamState]) -> None:
        if len({stream.stream_id for stream in streams}) != len(streams):
            raise ValueError("a stream was given twice in one step")
        for stream in streams:
            if stream.stream_id not in self._streams:
                raise ValueError(f"stream {stream.stream_id} is not open")
            if stream.finished:
                raise ValueError(f"stream {stream.stream_id} has given its final hypothesis")

    def _decode(self, streams: Sequence[StreamState]) -> None:
        """Prefill and decode all streams; a row that loops with a draft is decoded once more without."""
        rows = self._decode_once(streams, draft=self._draft)
        again = [i for i, row in enumerate(rows) if row.looped and len(row.previous) > row.pinned]
        if again:
            retried = self._decode_once([streams[i] for i in again], draft=False)
            for i, row in zip(again, retried, strict=True):
                rows[i] = row
        for stream, row in zip(streams, rows, strict=True):
            stream.take(row.tokens, row.logprobs, truncated=row.truncated)

    def _decode_once(self, streams: Sequence[StreamState], *, draft: bool) -> list[DecodeRow]:
        inputs = [self._inputs(stream) for stream in streams]
        rows = [
            DecodeRow(
                slot=stream.slot,
                limit=self._token_limit(stream),
                previous=stream.tokens if draft else stream.tokens[: stream.pinned],
                pinned=stream.pinned,
                allowed=stream.allowed,
                previous_logprobs=() if stream.ended or not draft else stream.logprobs,
                counters=stream.counters,
            )
            for stream in streams
        ]
        self.decoder.decode(rows, inputs)
        for stream in streams:  # only now: a step that failed can be run again
            stream.prefilled = True
            stream.audio_lengths = [piece.shape[0] for piece in stream.audio.closed]
            stream.audio.changed_from = None
            self._cache.truncate(stream.slot, stream.kept_tokens)
        return rows

    def _inputs(self, stream: StreamState) -> RowInput:
        """What the slot lacks: head and closed audio if new, open audio, suffix."""
        audio = stream.audio
        if audio.changed_from is not None:
            del stream.audio_lengths[audio.changed_from :]
        self._cache.truncate(stream.slot, stream.kept_tokens)
        heard = [*audio.closed[len(stream.audio_lengths) :], *([] if audio.open is None else [audio.open])]
        return RowInput([] if stream.prefilled else stream.head, heard, stream.suffix)

    def _max_piece_s(self, context: str) -> int:
        """Longest audio whose tokens and text fit the model's positions, 1200 s at most."""
        config = self.encoder_config
        per_second = MAX_TOKENS_PER_SECOND + -(-config.chunk_tokens * FRAMES_PER_SECOND // config.chunk_frames)
        overhead = len(self.prompt.head(context)) + MAX_TOKENS_BASE + 64  # suffix, and the search around the cut
        longest = self.network.config.decoder.max_positions if self.pool is None else self.pool.longest
        room = longest - overhead - SEARCH_S * per_second
        return max(1, min(MAX_PIECE_S, room // per_second))

    def _free_tokens(self) -> int | None:
        """Places of whole free slots; None where the cache grows."""
        return None if self.pool is None else self.pool.free_slots * self.pool.slot_tokens

    def _token_limit(self, stream: StreamState) -> int:
        if stream.max_new_tokens is not None:
            return stream.max_new_tokens - len(stream.frozen.tokens)
        seconds = max(stream.samples_fed - stream.context_start, MIN_SAMPLES) / SAMPLE_RATE
        carried = stream.pinned if stream.context_start else 0
        return carried + MAX_TOKENS_BASE + int(MAX_TOKENS_PER_SECOND * seconds)

    def _publish(self, stream: StreamState) -> Hypothesis:
        stream.finished = stream.ended
        tokens, logprobs = stream.spoken()
        parsed = self.prompt.parse(tokens, stream.language)
        return Hypothesis(
            stream_id=stream.stream_id,
            token_ids=tuple(tokens),
            text=parsed.text,
            language=parsed.language,
            token_ends=parsed.token_ends,
            logprobs=tuple(logprobs),
            samples_seen=stream.samples_heard,
            final=stream.ended,
            truncated=stream.truncated,
        )

    @torch.inference_mode()
    def encode(self, samples: Samples) -> Tensor:
        """Encoder output of a whole clip, `[tokens, hidden]`, through the plain (not incremental) forward."""
        features = log_mel(samples, self._transform)
        encoded: list[Tensor] = self.network.audio_tower([features])
        return encoded[0]

    @overload
    def transcribe(
        self, samples: Samples, *, language: str | None = ..., context: str = ..., max_new_tokens: int | None = ...
    ) -> Transcription: ...

    @overload
    def transcribe(
        self,
        samples: Sequence[Samples],
        *,
        language: str | None = ...,
        context: str = ...,
        max_new_tokens: int | None = ...,
    ) -> list[Transcription]: ...

    def transcribe(
        self,
        samples: Samples | Sequence[Samples],
        *,
        language: str | None = None,
        context: str = "",
        max_new_tokens: int | None = None,
    ) -> Transcription | list[Transcription]:
        """Transcribe one clip, or several in batches: float32 mono 16 kHz `[n]` of any length.

        Audio over 1200 s is cut at its quietest points. The token limit follows each piece's length unless
        `max_new_tokens` sets it; reaching it is reported as `truncated`. Raises ValueError as `open` and `feed` do.
        """
        if isinstance(samples, np.ndarray):
            return self._transcribe([samples], language, context, max_new_tokens)[0]
        return self._transcribe(samples, language, context, max_new_tokens)

    def _transcribe(
        self, clips: Sequence[Samples], language: str | None, context: str, max_new_tokens: int | None
    ) -> list[Transcription]:
        options = StreamOptions(language=language, context=context)
        pieces = [
            (clip, piece)
            for clip, samples in enumerate(clips)
            for piece in split_long(samples, self._max_piece_s(context))
        ]
        finals: list[list[Hypothesis]] = [[] for _ in clips]
        for batch in batches(pieces, self._free_tokens()):
            opened: list[StreamState] = []
            try:
                for _, samples in batch:
                    opened.append(self.open(options, max_new_tokens=max_new_tokens))
                    self.feed(opened[-1], samples, final=True)
                for (clip, _), hypothesis in zip(batch, self.step(opened), strict=True):
                    finals[clip].append(hypothesis)
            finally:
                for stream in opened:
                    self.close(stream)
        return [join(parts, samples.size) for parts, samples in zip(finals, clips, strict=True)]


def _override(config: EncoderConfig, window_s: int | None, attention: AttentionMode | None) -> EncoderConfig:
    if window_s is not None and not (isinstance(window_s, int) and 1 <= window_s <= 8):
        raise ValueError(f"window_s is {window_s!r}: expected a whole number of seconds, 1 to 8")
    mode = attention or config.attention_mode
    frames = window_s * FRAMES_PER_SECOND if window_s is not None else None
    if mode == "rolling":
        left = frames or config.left_context_frames or config.window_frames
        return dataclasses.replace(config, attention_mode=mode, left_context_frames=left)
    return dataclasses.replace(config, attention_mode=mode, window_frames=frames or config.window_frames)


def _one_of(sequences: Sequence[Sequence[int]]) -> Allowed:
    """Only the given sequences may begin the output; after one of them anything may follow."""

    def allowed(tokens: Sequence[int]) -> Sequence[int] | None:
        here = len(tokens)
        fitting = [s for s in sequences if list(s[:here]) == list(tokens[: len(s)])]
        if not fitting or any(len(s) <= here for s in fitting):
            return None
        return sorted({s[here] for s in fitting})

    return allowed
