"""The text of several segments in a row, for clients that want one text: it grows at its end, and is whole at the end.

Pure: our server messages in, new text out. Only committed text is given out; a segment waits until the one before has
its final. Where a final contradicts what was given out, only `text` tells.
"""

from dataclasses import dataclass

from .joined_text import joined, separator
from .protocol import Final, Notice, NoticeCode, Partial, ServerMessage, SpeechStart


@dataclass(slots=True)
class _Part:
    committed: str = ""
    sent: str = ""
    final: Final | None = None


class RunningTranscript:
    """All segments since the beginning or the last `clear`."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        self._sent = ""
        self.failure: str | None = None
        """Why a part of the audio was not transcribed."""

    def receive(self, message: ServerMessage) -> str:
        """Take one message of the session; returns the text that is new since the last call."""
        match message:
            case SpeechStart():
                self._parts[message.segment] = _Part()
            case Partial() if message.segment in self._parts:
                self._parts[message.segment].committed = message.committed
            case Final() if message.segment in self._parts:
                self._parts[message.segment].final = message
            case Notice(code=NoticeCode.UNTRANSCRIBED) if message.segment in self._parts:
                self.failure = message.message
        return self._grown()

    @property
    def whole(self) -> bool:
        """Whether every segment that began has its final."""
        return all(part.final is not None for part in self._parts.values())

    @property
    def finals(self) -> list[Final]:
        """Those that are there, in order."""
        return [part.final for part in self._parts.values() if part.final is not None]

    @property
    def text(self) -> str:
        """The text of the finals."""
        return joined(final.text for final in self.finals)

    def clear(self) -> None:
        """Begin anew; what still comes of older segments is ignored."""
        self._parts.clear()
        self._sent = ""
        self.failure = None

    def _grown(self) -> str:
        before = len(self._sent)
        for part in self._parts.values():
            text = part.committed.rstrip() if part.final is None else part.final.text
            if text.startswith(part.sent) and text != part.sent:
                self._sent += ("" if part.sent else separator(self._sent, text)) + text[len(part.sent) :]
                part.sent = text
            if part.final is None:
                break
        return self._sent[before:]
