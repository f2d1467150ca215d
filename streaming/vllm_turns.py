"""vLLM's dialect of the Realtime socket: one transcript from `commit` to `commit` with `final`, no items, no turns.

Pure, with the doors of `openai_turns.Turns`. Knows vLLM's event names; that a client speaks it shows in its first
`session.update`, which names the model at the top level.
"""

from dataclasses import dataclass

from .joined_text import joined, separator
from .protocol import Final, Partial, ServerMessage, SpeechStart

Json = dict[str, object]

SAMPLE_RATE_HZ = 16_000


@dataclass(slots=True)
class _Part:
    committed: str = ""
    sent: str = ""
    final: Final | None = None


class VllmTurns:
    """The transcript of all segments since the last `final` commit."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        self._sent = ""
        self._ending = False
        self._audio_ms = 0

    def receive(self, message: ServerMessage) -> list[Json]:
        """The events that one message of the session makes."""
        match message:
            case SpeechStart():
                self._parts[message.segment] = _Part()
            case Partial() if message.segment in self._parts:
                self._parts[message.segment].committed = message.committed
            case Final() if message.segment in self._parts:
                self._parts[message.segment].final = message
        return self._deltas() + self._done()

    def commit(self, audio_ms: int) -> list[Json]:
        """The audio of the transcript ends, after `audio_ms`."""
        self._ending = True
        self._audio_ms = audio_ms
        return self._done()

    def clear(self) -> list[Json]:
        """Forget what was said."""
        self._parts.clear()
        self._sent = ""
        return []

    def _deltas(self) -> list[Json]:
        events: list[Json] = []
        for part in self._parts.values():
            text = part.committed.rstrip() if part.final is None else part.final.text
            if text.startswith(part.sent) and text != part.sent:
                delta = ("" if part.sent else separator(self._sent, text)) + text[len(part.sent) :]
                part.sent = text
                self._sent += delta
                events.append({"type": "transcription.delta", "delta": delta})
            if part.final is None:
                break
        return events

    def _done(self) -> list[Json]:
        finals = [part.final for part in self._parts.values() if part.final is not None]
        if not self._ending or len(finals) < len(self._parts):
            return []
        self._ending = False
        self.clear()
        return [
            {
                "type": "transcription.done",
                "text": joined(final.text for final in finals),
                "usage": {"type": "duration", "seconds": self._audio_ms / 1000},
            }
        ]
