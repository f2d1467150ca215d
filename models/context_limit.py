"""A bound on what the decoder is given of a long utterance: beyond it, only recent audio and the text of that audio.

Each update runs all of the text again, and attends to all of the audio. Once the audio passes the limit, the decoder
begins anew from the end of a closed window some seconds back. Text that had appeared before that point is frozen: it
stays in the hypothesis and is not run any more. Text since then is carried along, pinned but for its newest tokens, so
that decoding goes on in the middle of the sentence. The encoder goes on as it was. An utterance that was never stepped
before its end has no text to carry: offline transcription knows no limit. Knows one stream at a time, and no weights.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from .config import FRAMES_PER_SECOND, EncoderConfig
from .mel import SAMPLE_RATE
from .stream import StreamState

MIN_LIMIT_S = 8
KEPT_S = 4  # audio kept at least: about 16 tokens of English
SETTLED_S = 2  # text that has stood for this long is carried as it is; newer text may still be corrected
MIN_CARRIED = 8  # tokens carried at least, so that the text goes on as text that has begun


@dataclass(frozen=True, slots=True)
class ContextLimit:
    """`seconds` of audio, at least MIN_LIMIT_S: ValueError below."""

    seconds: int

    def __post_init__(self) -> None:
        if self.seconds < MIN_LIMIT_S:
            raise ValueError(f"context_limit_s is {self.seconds}: expected at least {MIN_LIMIT_S}")

    def apply(self, stream: StreamState, config: EncoderConfig, tag: int) -> None:
        """Cut `stream` back where it is over the limit; `tag`: tokens of its language tag, which are never frozen.

        To be called when audio was encoded and before it is decoded. The audio given may pass the limit by a window or
        an update interval, whichever is longer.
        """
        if stream.samples_fed - stream.context_start <= self.seconds * SAMPLE_RATE:
            return
        chunk = config.chunk_frames * SAMPLE_RATE // FRAMES_PER_SECOND
        sizes = [piece.shape[0] // config.chunk_tokens for piece in stream.audio.closed]
        ends = [stream.context_start + chunks * chunk for chunks in accumulate(sizes)]
        latest = min(stream.samples_fed - KEPT_S * SAMPLE_RATE, stream.samples_heard - SETTLED_S * SAMPLE_RATE)
        pieces = bisect_right(ends, latest)
        if not pieces:
            return
        stream.audio.drop(pieces, sum(sizes[:pieces]))
        stream.context_start = ends[pieces - 1]
        stream.prefilled = False
        stream.audio_lengths.clear()
        self._freeze(stream, tag)

    def _freeze(self, stream: StreamState, tag: int) -> None:
        if len(stream.tokens) <= tag:
            return  # nothing was said yet: nothing to carry, the language is still open
        before = bisect_right(stream.births, stream.context_start)
        end = max(tag, min(before, len(stream.tokens) - MIN_CARRIED))
        frozen = stream.frozen
        frozen.place = tag
        frozen.tokens += stream.tokens[tag:end]
        frozen.logprobs += stream.logprobs[tag:end]
        settled = bisect_right(stream.births, stream.samples_heard - SETTLED_S * SAMPLE_RATE)
        stream.pinned = max(stream.pinned, settled, tag) - (end - tag)
        for values in (stream.tokens, stream.logprobs, stream.births):
            del values[tag:end]
