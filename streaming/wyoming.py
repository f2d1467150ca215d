"""Wyoming, the protocol of Home Assistant's voice services: its events to a session, the session's messages to events.

Pure: events in, events out. Knows the events' names and order. Refuses to know bytes (`wyoming_frames`) and sockets
(`wyoming_server`).

A client sends `transcribe`, `audio-start`, `audio-chunk`s, `audio-stop`; it gets `transcript-start`, a
`transcript-chunk` for each piece of committed text while it still speaks, then `transcript` and `transcript-stop`. A
connection may do so many times. A client's fault is told with `error`, and ends the connection.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from . import protocol as wire
from .config import SessionOptions
from .protocol import ErrorCode, ProtocolError, Start
from .running_transcript import RunningTranscript
from .session import Session
from .unheard_audio import UnheardAudio
from .wyoming_frames import WyomingEvent

MAX_WAITING_EVENTS = 256
"""Of ours, for a client that does not read them."""

_SLICE_BYTES = 1 << 16
_SAMPLE_BYTES = 2


class _Transcribe(msgspec.Struct, frozen=True):
    language: str | None = None
    transcript_names: list[str] | None = None
    transcript_terms: list[str] | None = None


class _AudioFormat(msgspec.Struct, frozen=True):
    rate: int
    width: int
    channels: int


def described(model: str, codes: list[str], version: str) -> WyomingEvent:
    """The answer to `describe`. `codes`: the languages, as ISO codes."""
    attribution = {"name": "steno", "url": "https://huggingface.co/Qwen"}
    about = {"attribution": attribution, "installed": True, "version": version}
    program = {
        **about,
        "name": "steno",
        "description": "Live speech to text with the Qwen3-ASR models",
        "models": [{**about, "name": model, "description": model, "languages": codes}],
        "supports_transcript_streaming": True,
        "requires_external_vad": True,
    }
    return WyomingEvent("info", {"asr": [program]})


class WyomingDialog:
    """One client.

    Args:
        session: fresh; it is started here.
        offered: the server's options.
        codes: ISO codes by English name.
        info: the answer to `describe`.
    """

    def __init__(self, session: Session, offered: SessionOptions, codes: Mapping[str, str], info: WyomingEvent) -> None:
        self.session = session
        # The client says where an utterance ends: what is between pauses of its speaker belongs together.
        self._offered = replace(
            offered,
            vad_aggressiveness=0,
            vad_margin_db=offered.vad_margin_db / 2,
            endpoint_ms=max(offered.endpoint_ms, 1000),
            pre_roll_ms=max(offered.pre_roll_ms, 500),
        )
        self._codes = codes
        self._info = info
        self._asked = _Transcribe()
        self._format: _AudioFormat | None = None
        self._start = Start()
        self._unheard = UnheardAudio()
        self._transcript = RunningTranscript()
        self._begun = False  # transcript-start was sent
        self._ending = False
        self._queue: deque[bytes | WyomingEvent] = deque()
        self._events: list[WyomingEvent] = []
        self._handlers: Mapping[str, Callable[[WyomingEvent], None]] = {
            "describe": self._describe,
            "ping": self._ping,
            "transcribe": self._transcribe,
            "audio-start": self._audio_start,
            "audio-chunk": self._audio_chunk,
            "audio-stop": self._audio_stop,
        }
        session.receive_control(Start())

    @property
    def hungry(self) -> bool:
        """Whether more may be read: nothing waits, and the client reads what it is told."""
        return not self._queue and len(self._events) < MAX_WAITING_EVENTS

    def receive(self, event: WyomingEvent) -> None:
        """One event of the client; those that nobody knows are dropped, as the protocol wants it."""
        if event.type in self._handlers:
            self._queue.append(event)
            self.advance()

    def advance(self) -> None:
        """Give the session what it takes of what waits. To be called after it got results, too."""
        while self._queue and self.session.close_code is None:
            if self._ending:
                return  # the transcript of this utterance first
            first = self._queue[0]
            if isinstance(first, bytes) and not self.session.accepts_audio:
                return
            self._queue.popleft()
            if isinstance(first, bytes):
                self._unheard.add(first)
                self.session.receive_audio(first)
                continue
            try:
                self._handlers[first.type](first)
            except msgspec.ValidationError as fault:
                self.session.receive_fault(ProtocolError(ErrorCode.BAD_FIELD, f"{first.type}: {fault}"))
            except ProtocolError as error:
                self.session.receive_fault(error)

    def events_to_send(self) -> list[WyomingEvent]:
        """Everything to be sent now. Drain only when the socket can take it."""
        self._translate()
        self.advance()  # the end of one utterance may let the next begin
        self._translate()
        events, self._events = self._events, []
        return events

    def _describe(self, event: WyomingEvent) -> None:
        self._events.append(self._info)

    def _ping(self, event: WyomingEvent) -> None:
        self._events.append(WyomingEvent("pong", {"text": event.data.get("text")}))

    def _transcribe(self, event: WyomingEvent) -> None:
        self._asked = msgspec.convert(event.data, _Transcribe)
        self._format = None

    def _audio_start(self, event: WyomingEvent) -> None:
        self._begin(msgspec.convert(event.data, _AudioFormat))

    def _audio_chunk(self, event: WyomingEvent) -> None:
        format_ = msgspec.convert(event.data, _AudioFormat)
        if format_ != self._format:
            self._begin(format_)
        size = _SAMPLE_BYTES * format_.channels
        if len(event.payload) % size:
            message = f"{len(event.payload)} bytes of audio, expected a multiple of {size}"
            raise ProtocolError(ErrorCode.BAD_AUDIO, message)
        slices = [event.payload[at : at + _SLICE_BYTES] for at in range(0, len(event.payload), _SLICE_BYTES)]
        self._queue.extendleft(reversed(slices))

    def _begin(self, format_: _AudioFormat) -> None:
        if format_.width != _SAMPLE_BYTES:
            message = f"samples of {format_.width} bytes, expected {_SAMPLE_BYTES}"
            raise ProtocolError(ErrorCode.UNSUPPORTED_ENCODING, message)
        words = [*(self._asked.transcript_names or ()), *(self._asked.transcript_terms or ())]
        start = Start(
            sample_rate=format_.rate,
            channels=format_.channels,
            language=self._asked.language or None,
            context=", ".join(words),
        )
        self.session.reconfigure(start, self._offered)
        self._unheard.clear()
        self._start = start
        self._format = format_

    def _audio_stop(self, event: WyomingEvent) -> None:
        self._translate()
        self.session.receive_control(wire.Commit())
        self._translate()
        self._unheard.hand_over(self.session, self._start, self._offered)
        self._ending = True
        self._format = None
        self._translate()

    def _translate(self) -> None:
        for message in self.session.messages_to_send():
            if isinstance(message, wire.SpeechStart):
                self._unheard.heard()
            if isinstance(message, wire.Error):
                self._events.append(WyomingEvent("error", {"text": message.message, "code": message.code.value}))
            grown = self._transcript.receive(message)
            if grown:
                self._begin_transcript()
                self._events.append(WyomingEvent("transcript-chunk", {"text": grown}))
        if self._ending and self._transcript.whole and self.session.close_code is None:
            self._end_transcript()

    def _begin_transcript(self) -> None:
        if not self._begun:
            self._begun = True
            self._events.append(WyomingEvent("transcript-start"))

    def _end_transcript(self) -> None:
        self._begin_transcript()
        if self._transcript.failure is not None:
            self._events.append(WyomingEvent("error", {"text": self._transcript.failure, "code": "internal"}))
        data: dict[str, object] = {"text": self._transcript.text}
        language = next((final.language for final in self._transcript.finals if final.language is not None), None)
        if language is not None:
            data["language"] = self._codes.get(language, language)
        self._events += [WyomingEvent("transcript", data), WyomingEvent("transcript-stop")]
        self._transcript.clear()
        self._begun = self._ending = False
