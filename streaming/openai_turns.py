"""Our segments as OpenAI's conversation items: ids reserved at speech start, deltas that only append, one completion.

Pure: our server messages and the client's commits in, events as dicts out. A turn is one item. With turn detection each
segment is one; without, the client's `commit` ends a turn, and all segments since the last one belong to it.

Deltas carry committed text only; `unstable`, an extension, has the rest of what is recognised so far. Where the final
contradicts committed text, no delta can say so: `completed` replaces them all.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .joined_text import joined, separator
from .protocol import Final, Notice, NoticeCode, Partial, ServerMessage, SpeechEnd, SpeechStart
from .transcription_formats import language_codes, log_probabilities, usage

Json = dict[str, object]

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(slots=True)
class _Part:
    """One segment of a turn."""

    start_ms: int
    committed: str = ""
    tentative: str = ""
    language: str | None = None
    sent: str = ""
    final: Final | None = None
    failure: str | None = None


@dataclass(slots=True)
class _Turn:
    item_id: str
    manual: bool
    parts: dict[int, _Part] = field(default_factory=dict)
    sent: str = ""
    committed: bool = False
    dropped: bool = False
    audio_ms: int = 0

    @property
    def over(self) -> bool:
        return self.committed and all(part.final is not None for part in self.parts.values())


@dataclass(frozen=True, slots=True)
class TurnStyle:
    """What the client asked for. Without `deltas`, as DashScope's clients want it, `unstable` events tell it all."""

    manual: bool = False
    flat: bool = False
    logprobs: bool = False
    segments: bool = False
    unstable: bool = False
    deltas: bool = True


class Turns:
    """All items of one session. `new_id` makes ids; `codes`: ISO codes by English name."""

    def __init__(self, new_id: Callable[[str], str], codes: Mapping[str, str]) -> None:
        self.style = TurnStyle()
        self._new_id = new_id
        self._codes = codes
        self._turns: dict[int, _Turn] = {}  # by segment, until the segment's final
        self._open: _Turn | None = None
        self._previous_id: str | None = None

    def receive(self, message: ServerMessage) -> list[Json]:
        """The events that one message of the session makes."""
        match message:
            case SpeechStart():
                return self._started(message)
            case Partial():
                return self._partial(message)
            case SpeechEnd():
                return self._ended(message)
            case Notice(code=NoticeCode.UNTRANSCRIBED):
                turn = self._turns.get(-1 if message.segment is None else message.segment)
                if turn is not None and message.segment is not None:
                    turn.parts[message.segment].failure = message.message
                return []
            case Final():
                return self._final(message)
            case _:
                return []

    def switch(self, style: TurnStyle) -> list[Json]:
        """From here on in this style. A turn that only the client could have ended ends when it may no longer."""
        self.style = style
        if style.manual or self._open is None or not self._open.manual:
            return []
        turn, self._open = self._open, None
        return [*self._committed(turn), *self._concluded(turn)]

    def commit(self, audio_ms: int) -> list[Json]:
        """The client ended its turn, `audio_ms` after the last one; its segments were told to end before."""
        turn = self._open or _Turn(self._new_id("item"), manual=True)
        self._open = None
        turn.audio_ms = audio_ms
        return [*self._committed(turn), *self._concluded(turn)]

    def clear(self) -> list[Json]:
        """The client dropped what it said since the last commit."""
        if self._open is not None:
            self._open.dropped = True
            self._open = None
        return [{"type": "input_audio_buffer.cleared"}]

    def _started(self, message: SpeechStart) -> list[Json]:
        if self._open is None:
            self._open = _Turn(self._new_id("item"), self.style.manual)
        turn = self._open
        turn.parts[message.segment] = _Part(message.at_ms)
        self._turns[message.segment] = turn
        if turn.manual:
            return []
        return [{"type": "input_audio_buffer.speech_started", "item_id": turn.item_id, "audio_start_ms": message.at_ms}]

    def _ended(self, message: SpeechEnd) -> list[Json]:
        turn = self._turns[message.segment]
        if turn.manual or turn.dropped or message.reason == "clear":
            return []
        self._open = None
        turn.audio_ms = message.at_ms - turn.parts[message.segment].start_ms
        stopped: Json = {
            "type": "input_audio_buffer.speech_stopped",
            "item_id": turn.item_id,
            "audio_end_ms": message.at_ms,
        }
        return [stopped, *self._committed(turn)]

    def _partial(self, message: Partial) -> list[Json]:
        turn = self._turns[message.segment]
        part = turn.parts[message.segment]
        part.committed, part.tentative, part.language = message.committed, message.tentative, message.language
        return self._deltas(turn)

    def _final(self, message: Final) -> list[Json]:
        turn = self._turns.pop(message.segment)
        turn.parts[message.segment].final = message
        if turn.dropped:
            return []
        events = self._deltas(turn)
        if self.style.segments and message.text:
            events.append(self._segment(turn, message))
        return events + self._concluded(turn)

    def _deltas(self, turn: _Turn) -> list[Json]:
        """New text of the turn, part after part: a part waits until the one before has its final."""
        if turn.dropped:
            return []
        events = []
        for part in turn.parts.values():
            text = part.committed.rstrip() if part.final is None else part.final.text
            if text.startswith(part.sent) and text != part.sent:
                delta = ("" if part.sent else separator(turn.sent, text)) + text[len(part.sent) :]
                part.sent = text
                turn.sent += delta
                if self.style.deltas:
                    events.append(self._delta(turn, part, delta))
            if part.final is None:
                if self.style.unstable:
                    events.append(self._unstable(turn, part))
                break
        return events

    def _delta(self, turn: _Turn, part: _Part, delta: str) -> Json:
        unstable = (part.committed + part.tentative)[len(part.sent) :] if part.final is None else ""
        return {
            "type": f"{_TRANSCRIPTION}.delta",
            "item_id": turn.item_id,
            "content_index": 0,
            "delta": delta,
            "unstable": unstable,
        }

    def _unstable(self, turn: _Turn, part: _Part) -> Json:
        """An extension, named as the hosted API of this model family names it: `text` stays, `stash` may change."""
        return {
            "type": f"{_TRANSCRIPTION}.text",
            "item_id": turn.item_id,
            "content_index": 0,
            "text": turn.sent,
            "stash": separator(turn.sent, part.tentative if not part.sent else "")
            + (part.committed + part.tentative)[len(part.sent) :],
            "language": None if part.language is None else self._codes.get(part.language, part.language),
        }

    def _segment(self, turn: _Turn, final: Final) -> Json:
        return {
            "type": f"{_TRANSCRIPTION}.segment",
            "id": f"seg_{final.segment}",
            "item_id": turn.item_id,
            "content_index": 0,
            "start": final.start_ms / 1000,
            "end": final.end_ms / 1000,
            "speaker": "",
            "text": final.text,
        }

    def _committed(self, turn: _Turn) -> list[Json]:
        turn.committed = True
        previous, self._previous_id = self._previous_id, turn.item_id
        item: Json = {
            "id": turn.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        told = ("conversation.item.created",) if self.style.flat else _ITEM_EVENTS
        committed: Json = {
            "type": "input_audio_buffer.committed",
            "item_id": turn.item_id,
            "previous_item_id": previous,
        }
        items: list[Json] = [{"type": each, "previous_item_id": previous, "item": item} for each in told]
        return [committed, *items]

    def _concluded(self, turn: _Turn) -> list[Json]:
        """The last event of a turn, once all its finals are there."""
        if not turn.over:
            return []
        failures = [part.failure for part in turn.parts.values() if part.failure is not None]
        about: Json = {"item_id": turn.item_id, "content_index": 0}
        if failures:
            error = {"type": "server_error", "code": "transcription_failed", "message": failures[0], "param": None}
            return [{"type": f"{_TRANSCRIPTION}.failed", **about, "error": error}]
        finals = [part.final for part in turn.parts.values() if part.final is not None]
        languages = language_codes(_languages(finals), self._codes)
        completed: Json = {
            "type": f"{_TRANSCRIPTION}.completed",
            **about,
            "transcript": joined(final.text for final in finals),
            "languages": languages,
            "logprobs": log_probabilities(finals) if self.style.logprobs else None,
            "usage": usage(turn.audio_ms),
        }
        if not self.style.deltas:
            completed["language"] = languages[0]["code"] if languages else None
        return [completed]


_ITEM_EVENTS = ("conversation.item.added", "conversation.item.done")


def _languages(finals: Iterable[Final]) -> list[str]:
    return list(dict.fromkeys(final.language for final in finals if final.language is not None))
