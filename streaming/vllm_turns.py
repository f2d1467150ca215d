"""vLLM's dialect of the Realtime socket: one transcript from `commit` to `commit` with `final`, no items, no turns.

Pure, with the doors of `openai_turns.Turns`. Knows vLLM's event names; that a client speaks it shows in its first
`session.update`, which names the model at the top level.
"""

from .protocol import ServerMessage
from .running_transcript import RunningTranscript
from .transcription_formats import usage

Json = dict[str, object]

SAMPLE_RATE_HZ = 16_000


class VllmTurns:
    """The transcript of all segments since the last `final` commit."""

    def __init__(self) -> None:
        self._transcript = RunningTranscript()
        self._ending_ms: int | None = None

    def receive(self, message: ServerMessage) -> list[Json]:
        """The events that one message of the session makes."""
        delta = self._transcript.receive(message)
        deltas: list[Json] = [{"type": "transcription.delta", "delta": delta}] if delta else []
        return deltas + self._done()

    def commit(self, audio_ms: int) -> list[Json]:
        """The audio of the transcript ends, after `audio_ms`."""
        self._ending_ms = audio_ms
        return self._done()

    def clear(self) -> list[Json]:
        """Forget what was said."""
        self._transcript.clear()
        return []

    def _done(self) -> list[Json]:
        if self._ending_ms is None or not self._transcript.whole:
            return []
        text, failure, audio_ms = self._transcript.text, self._transcript.failure, self._ending_ms
        self._ending_ms = None
        self._transcript.clear()
        if failure is not None:
            return [{"type": "error", "error": failure, "code": "processing_error"}]
        return [{"type": "transcription.done", "text": text, "usage": usage(audio_ms)}]
