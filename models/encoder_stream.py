"""Incremental encoding: what of an utterance is encoded once and for all, and what must run again at each step.

Owns, per utterance, the log-mel, the conv outputs of complete chunks and the encoder outputs of closed windows (or
rolling blocks). Knows no tokens of text. The log-mel floor is the only thing that can change what was computed. Chunks
of the open window that it touched are computed again at once, and so are closed windows while that is little work:
speech is mostly at its loudest within seconds. Later ones wait for the end of the utterance. So a step stays bounded,
and the final is that of the whole utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import FRAMES_PER_SECOND
from .encoder import AudioEncoder, RollingCache
from .graphs import Recorder
from .mel import FLOOR_DEPTH, MelTransform, apply_floor
from .mel_stream import MelStream, advance_together
from .packed_attention import flash_fits
from .recorded_windows import RecordedWindows

STEM_CHUNKS = 512  # whose features are held at a time
REDO_S = 8.0  # closed audio that a step before the end may encode again
MIN_TAIL = 8  # frames of a chunk that has just begun, one token: a step before the end leaves fewer for the next one


@dataclass(slots=True)
class EncoderCounters:
    """Work done for one utterance, in units of the model."""

    chunks: int = 0  # complete chunks through the conv stem
    open_chunks: int = 0  # stem runs over a chunk that was not complete
    closed_tokens: int = 0  # tokens of closed windows or blocks
    open_tokens: int = 0  # tokens of windows run before they were closed
    closed_windows: int = 0
    dirty_windows: int = 0  # closed windows (or blocks) encoded again because the floor rose, early or at the end


class EncoderStream:
    """State of one utterance.

    `closed` are outputs `[tokens, output]` of finished windows, in order; `open` is that of the rest at the last step.
    `changed_from` is the index of the first piece of `closed` that was replaced since the reader last set it to None.
    Pieces that were dropped are not in `closed`, and nothing computes them again.
    """

    def __init__(self, transform: MelTransform) -> None:
        self.mel = MelStream(transform)
        self.closed: list[Tensor] = []
        self.open: Tensor | None = None
        self.changed_from: int | None = None
        self.counters = EncoderCounters()
        self._stems: list[Tensor] = []  # of complete chunks, positions added
        self._maxima: list[float] = []  # the running maximum that each of them was made with
        self._minima: list[float] = []  # the lowest bin of each, un-floored
        self._cache = RollingCache()
        self._blocks = 0
        self._dropped = 0  # chunks

    def drop(self, pieces: int, chunks: int) -> None:
        """Forget the first `pieces` of `closed`, which were made of `chunks` chunks."""
        del self.closed[:pieces]
        self._dropped += chunks
        if self.changed_from is not None:
            self.changed_from = max(0, self.changed_from - pieces)

    def dirty_chunks(self) -> list[int]:
        """Complete chunks whose features the present floor would change."""
        now = self.mel.maximum
        return [
            chunk
            for chunk, (then, lowest) in enumerate(zip(self._maxima, self._minima, strict=True))
            if chunk >= self._dropped and then != now and lowest < max(then, now) - FLOOR_DEPTH
        ]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One run of the stem: `frames` of chunk number `chunk` of a stream."""

    stream: EncoderStream
    chunk: int
    frames: int

    def raw(self, size: int) -> Tensor:
        """Un-floored log-mel `[bins, size]`, anything behind the chunk's end."""
        start = self.chunk * size
        return F.pad(self.stream.mel.raw[:, start : start + self.frames], (0, size - self.frames))


class EncoderStreams:
    """Steps many utterances through one set of weights."""

    def __init__(self, encoder: AudioEncoder, transform: MelTransform, recorder: Recorder | None = None) -> None:
        """`recorder`: makes graphs of window passes, when warmed up; for half precision on an accelerator."""
        self._recorded = RecordedWindows(encoder, recorder) if recorder is not None else None
        self._encoder = encoder
        self._transform = transform
        self._config = encoder.config

    def warm_up(self) -> None:
        """Record the graphs, if any."""
        windows = self._config.attention_mode == "window"
        if self._recorded is not None and windows and flash_fits(self._encoder.ln_post.weight):
            self._recorded.warm_up()

    def open(self) -> EncoderStream:
        return EncoderStream(self._transform)

    def advance(self, streams: Sequence[EncoderStream], finals: Sequence[bool]) -> None:
        """Encode what arrived. Where `finals` is true the utterance is finished and all dirty windows are redone."""
        self._advance_mel(streams, finals)
        redone = [
            set(stream.dirty_chunks()) if final else self._redone_early(stream)
            for stream, final in zip(streams, finals, strict=True)
        ]
        tails = self._run_stem(streams, finals, redone)
        if self._config.attention_mode == "rolling":
            self._encode_rolling(streams, finals, redone, tails)
        else:
            self._encode_windows(streams, redone, tails)

    def _advance_mel(self, streams: Sequence[EncoderStream], finals: Sequence[bool]) -> None:
        if self._transform.window.device.type != "cpu":
            advance_together(self._transform, [stream.mel for stream in streams], finals)
            return
        for stream, final in zip(streams, finals, strict=True):
            if final:
                stream.mel.finish()
            else:
                stream.mel.advance()

    def _redone_early(self, stream: EncoderStream) -> set[int]:
        """Dirty chunks that are computed again before the end: the open ones, and few closed ones."""
        dirty = stream.dirty_chunks()
        if self._config.attention_mode == "rolling":
            closed, first = stream._blocks * self._config.block_chunks, stream._dropped
        else:
            span = self._config.window_frames // self._config.chunk_frames
            closed = stream._dropped + len(stream.closed) * span
            first = min(dirty, default=0) // span * span
        limit = REDO_S * FRAMES_PER_SECOND / self._config.chunk_frames
        return {chunk for chunk in dirty if chunk >= closed or closed - first <= limit}

    def _run_stem(
        self, streams: Sequence[EncoderStream], finals: Sequence[bool], redone: Sequence[set[int]]
    ) -> list[Tensor | None]:
        """Conv stem over new and redone chunks of all streams; returns the open chunk's output of each."""
        size, rolling = self._config.chunk_frames, self._config.attention_mode == "rolling"
        targets: list[_Chunk] = []
        for stream, final, again in zip(streams, finals, redone, strict=True):
            frames = stream.mel.frames
            known, complete = len(stream._stems), frames // size
            targets += [_Chunk(stream, chunk, size) for chunk in sorted(again | set(range(known, complete)))]
            rest = frames - complete * size
            if final and rest or not rolling and rest >= MIN_TAIL:  # a rolling block is encoded once, when it is whole
                targets.append(_Chunk(stream, complete, rest))
        tails: dict[int, Tensor] = {}
        for first in range(0, len(targets), STEM_CHUNKS):
            self._run_chunks(targets[first : first + STEM_CHUNKS], tails)
        return [tails.get(id(stream)) for stream in streams]

    def _run_chunks(self, targets: Sequence[_Chunk], tails: dict[int, Tensor]) -> None:
        """Stem and positions of some chunks, all at once."""
        size, count = self._config.chunk_frames, self._config.chunk_tokens
        raw = torch.stack([each.raw(size) for each in targets])
        maxima = raw.new_tensor([each.stream.mel.maximum for each in targets])
        features = apply_floor(raw, maxima[:, None, None])
        lowest = raw.flatten(1).amin(1).tolist()
        if any(each.frames < size for each in targets):  # behind the end of audio is 0.0 in feature space
            ends = raw.new_tensor([each.frames for each in targets])
            features = features * (torch.arange(size, device=raw.device) < ends[:, None])[:, None]
        outputs = self._encoder.stem(features)
        chunks = torch.tensor([each.chunk for each in targets], device=raw.device)
        outputs = outputs + self._encoder.positions_of_chunks(chunks, count, outputs.dtype)
        for each, output, minimum in zip(targets, outputs, lowest, strict=True):
            self._keep_stem(each, output[: self._config.tokens(each.frames)], minimum, tails)

    def _keep_stem(self, target: _Chunk, embedded: Tensor, lowest: float, tails: dict[int, Tensor]) -> None:
        stream, chunk = target.stream, target.chunk
        if target.frames < self._config.chunk_frames:
            stream.counters.open_chunks += 1
            tails[id(stream)] = embedded
            return
        stream.counters.chunks += 1
        if chunk < len(stream._stems):
            stream._stems[chunk] = embedded.clone()
            stream._maxima[chunk] = stream.mel.maximum
            return
        stream._stems.append(embedded.clone())  # what is kept must not keep its whole batch
        stream._maxima.append(stream.mel.maximum)
        stream._minima.append(lowest)

    def _encode_windows(
        self, streams: Sequence[EncoderStream], redone: Sequence[set[int]], tails: Sequence[Tensor | None]
    ) -> None:
        span = self._config.window_frames // self._config.chunk_frames
        inputs: list[Tensor] = []
        targets: list[tuple[EncoderStream, int | None]] = []
        for stream, again, tail in zip(streams, redone, tails, strict=True):
            first, known, complete = stream._dropped // span, len(stream.closed), len(stream._stems) // span
            dirty = sorted({chunk // span - first for chunk in again if chunk // span - first < known})
            if dirty:
                stream.changed_from = min(dirty[0], known if stream.changed_from is None else stream.changed_from)
                stream.counters.dirty_windows += len(dirty)
            for piece in (*dirty, *range(known, complete - first)):
                window = first + piece
                inputs.append(torch.cat(stream._stems[window * span : (window + 1) * span]))
                targets.append((stream, piece))
            rest = stream._stems[complete * span :] + ([] if tail is None else [tail])
            stream.open = None
            if rest:
                inputs.append(torch.cat(rest))
                targets.append((stream, None))
        if not inputs:
            return
        lengths = [x.shape[0] for x in inputs]
        x = torch.cat(inputs)
        encoded = None if self._recorded is None else self._recorded.encode(x, lengths)
        outputs = (self._encoder.encode_windows(x, lengths) if encoded is None else encoded).split(lengths)
        for (stream, target), output in zip(targets, outputs, strict=True):
            if target is None:
                stream.open = output
                stream.counters.open_tokens += output.shape[0]
                continue
            stream.counters.closed_tokens += output.shape[0]
            if target < len(stream.closed):
                stream.closed[target] = output.clone()
            else:
                stream.counters.closed_windows += 1
                stream.closed.append(output.clone())

    def _encode_rolling(
        self,
        streams: Sequence[EncoderStream],
        finals: Sequence[bool],
        redone: Sequence[set[int]],
        tails: Sequence[Tensor | None],
    ) -> None:
        span = self._config.block_chunks
        inputs: list[Tensor] = []
        targets: list[EncoderStream] = []
        for stream, final, again, tail in zip(streams, finals, redone, tails, strict=True):
            if any(chunk // span < stream._blocks for chunk in again):
                # Keys of later blocks depend on every earlier one through the layers: begin again.
                first = stream._dropped // span
                stream.counters.dirty_windows += stream._blocks - first
                stream._cache = RollingCache(tokens_seen=first * self._config.block_tokens)
                stream._blocks = first
                stream.closed.clear()
                stream.changed_from = 0
            complete = len(stream._stems) // span
            end = len(stream._stems) if final else complete * span
            parts = stream._stems[stream._blocks * span : end] + ([] if tail is None else [tail])
            stream.counters.closed_windows += complete - stream._blocks
            stream._blocks = complete
            if parts:
                inputs.append(torch.cat(parts))
                targets.append(stream)
        if not inputs:
            return
        lengths = [x.shape[0] for x in inputs]
        caches = [stream._cache for stream in targets]
        outputs = self._encoder.encode_blocks(torch.cat(inputs), lengths, caches).split(lengths)
        for stream, output in zip(targets, outputs, strict=True):
            stream.counters.closed_tokens += output.shape[0]
            stream.closed.append(output.clone())
