"""From the client's bytes to segments in stream time: the audio input and the chunker, kept on one clock.

Before anything that ends a segment the resampler is flushed, so that positions are exact. Pure, as its two parts.
"""

from collections.abc import Callable

from .audio_input import AudioInput
from .chunker import Chunker, ChunkerEvent
from .config import SessionOptions
from .protocol import ErrorCode, ProtocolError, SpeechEndReason, Start
from .vad import Vad


class Segmenter:
    """Hears audio of the format that `start` names and cuts it as the options say.

    Args:
        new_vad: makes the frame classifier, if `start` wants one.
        at: position of the first sample.

    Raises:
        ProtocolError: the format is not supported.
    """

    def __init__(
        self, start: Start, options: SessionOptions, new_vad: Callable[[SessionOptions], Vad], *, at: int = 0
    ) -> None:
        self._input = AudioInput(
            sample_rate=start.sample_rate, encoding=start.encoding, channels=start.channels, origin=at
        )
        self._chunker = Chunker(options, new_vad(options) if start.vad else None, at=at)
        self._most_gap = options.max_session_s * start.sample_rate
        self._made_for = _relevant(start, options)

    @property
    def position(self) -> int:
        """Stream time in samples at 16 kHz, gaps included."""
        return self._input.position

    @property
    def samples_received(self) -> int:
        """Per channel, at the client's rate; gaps included."""
        return self._input.samples_received

    @property
    def open(self) -> bool:
        """True while a segment is open."""
        return self._chunker.open

    def fits(self, start: Start, options: SessionOptions) -> bool:
        """True if a segmenter made for these would do the same."""
        return self._made_for == _relevant(start, options)

    def hear(self, pcm: bytes) -> list[ChunkerEvent]:
        """The next message of audio.

        Raises:
            ProtocolError: BAD_AUDIO; nothing was taken.
        """
        return self._chunker.push(self._input.decode(pcm))

    def commit(self, reason: SpeechEndReason) -> list[ChunkerEvent]:
        """End the open segment, if any, with the last sample received."""
        return self._flushed() + self._chunker.commit(reason)

    def clear(self) -> list[ChunkerEvent]:
        """End the open segment, if any, and forget audio that was not handed out."""
        return self._flushed() + self._chunker.clear()

    def gap(self, samples: int) -> list[ChunkerEvent]:
        """Let `samples` (per channel, at the client's rate) pass without audio.

        Raises:
            ProtocolError: BAD_FIELD for a gap that ends before it begins or outlasts the longest session.
        """
        if not 0 < samples <= self._most_gap:
            raise ProtocolError(ErrorCode.BAD_FIELD, f"samples is {samples}, expected 1 to {self._most_gap}")
        return self._flushed() + self._chunker.gap(self._input.skip(samples))

    def _flushed(self) -> list[ChunkerEvent]:
        return self._chunker.push(self._input.flush())


def _relevant(start: Start, options: SessionOptions) -> tuple[object, ...]:
    format_ = (start.sample_rate, start.encoding, start.channels, start.vad)
    vad = (options.vad_aggressiveness, options.vad_margin_db, options.min_speech_ms, options.endpoint_ms)
    cuts = (options.pre_roll_ms, options.post_roll_ms, options.max_segment_ms, options.cut_search_ms)
    return format_ + vad + cuts
