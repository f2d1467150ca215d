"""OpenAI's Realtime transcription over a WebSocket: client events to a session, the session's messages to events.

Pure: frames in, frames out. Knows the events and their order. Refuses to know sockets, what the knobs of a session mean
(`openai_session`) and what a turn is (`openai_turns`).

Audio that the session does not take yet waits here, with all that came after it: a client may send minutes in one
event. The caller reads no further frame while `hungry` is false, so that what waits is one event's worth.
"""

import base64
import binascii
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import msgspec

from . import protocol as wire
from .config import SessionOptions
from .openai_errors import INVALID_REQUEST, OpenAIError, in_their_words, translated
from .openai_session import LOGPROBS, SEGMENTS, UNSTABLE, RealtimeConfig, read_patch
from .openai_turns import Turns, TurnStyle
from .protocol import ProtocolError, ServerMessage
from .session import Session
from .unheard_audio import UnheardAudio
from .vllm_turns import SAMPLE_RATE_HZ as VLLM_RATE
from .vllm_turns import VllmTurns

Json = dict[str, object]

MAX_APPEND_BYTES = 15 << 20
"""Of audio in one event; OpenAI's limit."""

MAX_WAITING_EVENTS = 256
"""Of ours, for a client that does not read them."""

_SHORTEST_COMMIT_MS = 100
_SLICE_BYTES = 1 << 16
_SAMPLE_BYTES: Mapping[str, int] = MappingProxyType({"audio/pcm": 2, "audio/pcmu": 1, "audio/pcma": 1})
_MARK_OF_FLAT = "transcription_session.update"


class ClientEvent(msgspec.Struct, frozen=True):
    """Any event of a client; fields that belong to another type are not looked at."""

    type: str
    event_id: str | None = None
    session: msgspec.Raw = msgspec.Raw()
    audio: str | None = None
    model: str | None = None
    final: bool | None = None


@dataclass(frozen=True, slots=True)
class _Audio:
    pcm: bytes
    event_id: str | None = None


_Queued = _Audio | ClientEvent


class TurnsLike(Protocol):
    """What makes events of segments."""

    def receive(self, message: ServerMessage) -> list[Json]: ...
    def commit(self, audio_ms: int) -> list[Json]: ...
    def clear(self) -> list[Json]: ...


class RealtimeDialog:
    """One client.

    Args:
        session: fresh; it is started here.
        offered: the server's options.
        codes: ISO codes by English name.
        config: what is in force before the client says anything.
        new_id: makes ids of events, items and so on, given their kind.
        now_s: seconds since the epoch.
        dashscope: the client is one of Alibaba's hosted API for this model family: `text` and `stash` in place of
            deltas, and a `session.finish`.
    """

    def __init__(
        self,
        session: Session,
        offered: SessionOptions,
        codes: Mapping[str, str],
        *,
        config: RealtimeConfig,
        new_id: Callable[[str], str],
        now_s: int,
        dashscope: bool = False,
    ) -> None:
        self.session = session
        self._offered = offered
        self._config = config
        self._new_id = new_id
        self._created_at = now_s
        self._expires_at = now_s + offered.max_session_s
        self._turns = Turns(new_id, codes)
        self._speaker: TurnsLike = self._turns
        self._vllm = False
        self._dashscope = dashscope
        self._queue: deque[_Queued] = deque()
        self._events: list[Json] = []
        self._since_commit = 0  # bytes of audio
        self._unheard = UnheardAudio()
        self._handlers: Mapping[str, Callable[[ClientEvent], None]] = {
            "session.update": self._update,
            _MARK_OF_FLAT: self._update,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            **({"session.finish": self._finish} if dashscope else {}),
        }
        session.receive_control(config.start())
        if session.close_code is None:
            self._tell(self._speaker_style())
            session.reconfigure(config.start(), config.options(offered))

    @property
    def hungry(self) -> bool:
        """Whether the next frame may be read: nothing waits, and the client reads what it is told."""
        return not self._queue and len(self._events) < MAX_WAITING_EVENTS

    def receive_text(self, frame: str) -> None:
        """A text frame: one event."""
        try:
            event = msgspec.json.decode(frame, type=ClientEvent)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
            self._refuse(_unreadable(fault), None)
            return
        try:
            if event.type == "input_audio_buffer.append":
                self._append(event)
            elif event.type in self._handlers:
                self._queue.append(event)
            else:
                raise self._unknown(event.type)
        except OpenAIError as error:
            self._refuse(error, event.event_id)
        self.advance()

    def receive_bytes(self, data: bytes) -> None:
        """A binary frame: audio without base64, an extension."""
        self._queue_audio(data, None)
        self.advance()

    def advance(self) -> None:
        """Give the session what it takes of what waits. To be called after it got results, too."""
        while self._queue and self.session.close_code is None:
            if isinstance(first := self._queue[0], _Audio) and not self.session.accepts_audio:
                return
            self._queue.popleft()
            if isinstance(first, _Audio):
                self._since_commit += len(first.pcm)
                if self._client_commits:
                    self._unheard.add(first.pcm)
                self.session.receive_audio(first.pcm)
                continue
            try:
                self._handlers[first.type](first)
            except OpenAIError as error:
                self._refuse(error, first.event_id)
            except ProtocolError as error:
                self._refuse(translated(error), first.event_id)

    def frames_to_send(self) -> list[str]:
        """Everything to be sent now. Drain only when the socket can take it."""
        self._translate()
        events, self._events = self._events, []
        return [json.dumps({"event_id": self._new_id("event"), **event}, ensure_ascii=False) for event in events]

    # Client events

    def _append(self, event: ClientEvent) -> None:
        if event.audio is None:
            raise OpenAIError("Missing required parameter: 'audio'.", "missing_required_parameter", "audio")
        if len(event.audio) > MAX_APPEND_BYTES * 4 // 3 + 4:
            raise OpenAIError(f"audio is longer than {MAX_APPEND_BYTES} bytes", "string_above_max_length", "audio")
        try:
            pcm = base64.b64decode(event.audio, validate=True)
        except (binascii.Error, ValueError) as fault:
            message = f"Invalid 'audio'. Expected base64-encoded audio bytes: {fault}"
            raise OpenAIError(message, "invalid_value", "audio") from fault
        self._queue_audio(pcm, event.event_id)

    def _queue_audio(self, pcm: bytes, event_id: str | None) -> None:
        size = _SAMPLE_BYTES[self._config.format]
        if len(pcm) % size:
            message = f"Invalid 'audio'. {len(pcm)} bytes, expected whole samples of {size} bytes"
            self._refuse(OpenAIError(message, "invalid_value", "audio"), event_id)
            return
        self._queue.extend(_Audio(pcm[at : at + _SLICE_BYTES]) for at in range(0, len(pcm), _SLICE_BYTES))

    def _update(self, event: ClientEvent) -> None:
        if not bytes(event.session):
            if event.model is None:
                raise OpenAIError("Missing required parameter: 'session'.", "missing_required_parameter", "session")
            self._become_vllm(event.model)
            return
        config = self._config.patched(read_patch(bytes(event.session)))
        self.session.reconfigure(config.start(), config.options(self._offered))
        if (config.format, config.rate) != (self._config.format, self._config.rate):
            self._since_commit = 0
            self._unheard.clear()
        self._config = config
        self._tell(self._speaker_style())
        kind = "transcription_session.updated" if event.type == _MARK_OF_FLAT else "session.updated"
        self._tell([{"type": kind, "session": self._told_config()}])

    def _become_vllm(self, model: str) -> None:
        config = RealtimeConfig(model=model, rate=VLLM_RATE)
        self.session.reconfigure(config.start(), config.options(self._offered))
        self._config = config
        if not self._vllm:
            self._vllm = True
            self._translate()
            self._speaker = VllmTurns()

    def _commit(self, event: ClientEvent) -> None:
        if self._vllm and not event.final:
            self._since_commit = 0
            return  # in this dialect it only announces audio
        audio_ms = self._buffered_ms
        if audio_ms < _SHORTEST_COMMIT_MS and not self._vllm:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_SHORTEST_COMMIT_MS}ms of audio, but buffer only has {audio_ms:.2f}ms of audio."
            )
            raise OpenAIError(message, "input_audio_buffer_commit_empty")
        self._translate()
        self._since_commit = 0
        self.session.receive_control(wire.Commit())
        ended = self._translate()
        if self._client_commits:
            self._unheard.hand_over(self.session, self._config.start(), self._config.options(self._offered))
            self._translate()
        if self._vllm or self._config.turn is None or not ended:
            # With turn detection the end of the open segment has said all; where none was open, the client still gets
            # its item.
            self._tell(self._speaker.commit(audio_ms))

    def _clear(self, event: ClientEvent) -> None:
        self._since_commit = 0
        self._unheard.clear()
        self.session.receive_control(wire.Clear())
        self._tell(self._speaker.clear())

    def _finish(self, event: ClientEvent) -> None:
        self._translate()
        if self._config.turn is None and self._buffered_ms >= _SHORTEST_COMMIT_MS:
            self._commit(event)
        self.session.receive_control(wire.Stop())

    @property
    def _client_commits(self) -> bool:
        return self._config.turn is None or self._vllm

    @property
    def _buffered_ms(self) -> int:
        samples = self._since_commit // _SAMPLE_BYTES[self._config.format]
        return samples * 1000 // self._config.rate

    # Server events

    def _translate(self) -> bool:
        """Turn the session's messages into events; True if a segment ended."""
        ended = False
        for message in self.session.messages_to_send():
            if isinstance(message, wire.SpeechStart):
                self._unheard.heard()
            if isinstance(message, wire.SpeechEnd):
                ended = True
                if not self._client_commits:
                    self._since_commit = 0
            self._tell(self._translated(message))
        return ended

    def _translated(self, message: ServerMessage) -> Iterable[Json]:
        match message:
            case wire.Ready():
                # `id` and `created` are where vLLM's clients look for them.
                session = self._told_config()
                return [
                    {"type": "session.created", "session": session, "id": session["id"], "created": self._created_at}
                ]
            case wire.Done():
                return [{"type": "session.finished"}]
            case wire.Error():
                return [self._error(in_their_words(message.code, message.message), None)]
            case _:
                return self._speaker.receive(message)

    def _told_config(self) -> Json:
        return self._config.as_session(f"sess_{self.session.session_id}", self._expires_at, self._offered)

    def _speaker_style(self) -> list[Json]:
        include = self._config.include
        style = TurnStyle(
            manual=self._config.turn is None,
            flat=self._config.flat,
            logprobs=LOGPROBS in include,
            segments=SEGMENTS in include,
            unstable=UNSTABLE in include or self._dashscope,
            deltas=not self._dashscope,
        )
        self._translate()  # what was said so far was said in the old one
        return self._turns.switch(style)

    def _tell(self, events: Iterable[Json]) -> None:
        self._events.extend(events)

    def _refuse(self, error: OpenAIError, event_id: str | None) -> None:
        self._translate()
        self._tell([self._error(error, event_id)])

    def _error(self, error: OpenAIError, event_id: str | None) -> Json:
        if self._vllm:
            return {"type": "error", "error": error.message, "code": error.code}
        return {"type": "error", "error": {**error.detail(), "event_id": event_id}}

    def _unknown(self, kind: str) -> OpenAIError:
        if self._vllm:
            return OpenAIError(f"Unknown event type: {kind}", "unknown_event")
        known = ", ".join(f"'{each}'" for each in ("input_audio_buffer.append", *self._handlers))
        return OpenAIError(f"Invalid value: '{kind}'. Supported values are: {known}.", "invalid_value", "type")


def _unreadable(fault: Exception) -> OpenAIError:
    if not isinstance(fault, msgspec.ValidationError):
        return OpenAIError(f"Could not parse the event as JSON: {fault}", "invalid_json", None, INVALID_REQUEST)
    text = str(fault)
    _, marked, path = text.partition(" - at `$.")
    if "missing required field" in text:
        return OpenAIError("Missing required parameter: 'type'.", "missing_required_parameter", "type")
    return OpenAIError(f"Invalid event: {text}", "invalid_type", path.rstrip("`") if marked else None)
