"""One numbering over several sessions: a session begun anew counts segments and milliseconds from 0 again.

Pure: knows which fields of the messages are numbers and times. Refuses to know why a session was begun anew.
"""

from dataclasses import dataclass, field

from msgspec.structs import replace

from steno.streaming.protocol import Done, Final, Notice, Partial, ServerMessage, SpeechEnd, SpeechStart


@dataclass(slots=True)
class Timeline:
    """Translates from the numbering of the current session to that of the whole recording.

    `translate` every message in order; `begin_anew` when a fresh session starts at sample `origin`.
    """

    sample_rate_hz: int
    origin: int = 0
    _finals: int = 0
    _first_segment: int = 0
    _final_end: int = 0
    _open: dict[int, int] = field(default_factory=dict)  # segments without a final, and where they start

    @property
    def origin_ms(self) -> int:
        return self.origin * 1000 // self.sample_rate_hz

    @property
    def transcribed_samples(self) -> int:
        """Position before which everything is in a final already."""
        return self._final_end

    def settle(self, audio_ms: int) -> None:
        """The server says that its session has dealt with everything before this instant of its own time."""
        self._final_end = self.origin + audio_ms * self.sample_rate_hz // 1000
        self._open.clear()

    def begin_anew(self, at: int) -> int:
        """A new session begins with the sample `at`. Returns how many samples of unfinished speech lie before it."""
        unfinished = min(self._open.values(), default=at)
        self.origin = at
        self._first_segment = self._finals
        self._open.clear()
        return max(0, at - max(unfinished, self._final_end))

    def translate(self, message: ServerMessage) -> ServerMessage:
        """The same message in the numbering of the whole recording."""
        if isinstance(message, Final):
            # Rounded down: a millisecond said twice is silence, one left out might be a sound.
            self._final_end = self.origin + message.end_ms * self.sample_rate_hz // 1000
            self._finals = self._first_segment + message.segment + 1
            self._open.pop(message.segment, None)
        elif isinstance(message, SpeechStart):
            self._open[message.segment] = self.origin + message.at_ms * self.sample_rate_hz // 1000
        if not self.origin and not self._first_segment:
            return message
        return self._shifted(message)

    def _shifted(self, message: ServerMessage) -> ServerMessage:
        origin_ms, first = self.origin_ms, self._first_segment
        match message:
            case SpeechStart(segment=segment, at_ms=at_ms) | SpeechEnd(segment=segment, at_ms=at_ms):
                return replace(message, segment=segment + first, at_ms=at_ms + origin_ms)
            case Partial(segment=segment, start_ms=start_ms, end_ms=end_ms):
                return replace(
                    message, segment=segment + first, start_ms=start_ms + origin_ms, end_ms=end_ms + origin_ms
                )
            case Final(segment=segment, start_ms=start_ms, end_ms=end_ms, words=words):
                return replace(
                    message,
                    segment=segment + first,
                    start_ms=start_ms + origin_ms,
                    end_ms=end_ms + origin_ms,
                    words=words
                    and tuple(
                        replace(word, start_ms=word.start_ms + origin_ms, end_ms=word.end_ms + origin_ms)
                        for word in words
                    ),
                )
            case Notice(segment=notice_segment, start_ms=notice_start_ms, end_ms=notice_end_ms):
                return replace(
                    message,
                    segment=_plus(notice_segment, first),
                    start_ms=_plus(notice_start_ms, origin_ms),
                    end_ms=_plus(notice_end_ms, origin_ms),
                )
            case Done(audio_ms=audio_ms, segments=segments):
                return replace(message, audio_ms=audio_ms + origin_ms, segments=segments + first)
            case _:
                return message


def _plus(value: int | None, offset: int) -> int | None:
    return None if value is None else value + offset
