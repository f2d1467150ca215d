"""One client's session without IO: messages and audio in, messages and work out. No clock, no thread, no socket.

The caller feeds it through `receive_*` and, after each call, drains `work_to_run` (for the engine) and, whenever the
socket can take more, `messages_to_send`. No `receive_*` raises: faults of the client become an `error` message and a
`close_code`. `phases.TRANSITIONS` says what each event does in each phase. Whatever happens, every segment that got a
`speech_start` gets one `speech_end` and then one `final`, finals in the order of segments.

The order of messages on the wire and the rules of resuming stand at the top of `protocol`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from . import chunker as chunks
from . import notices
from . import protocol as wire
from .chunker import ChunkerEvent
from .config import SessionOptions
from .handshake import Languages, limits, negotiate
from .outbox import Outbox
from .phases import REFUSALS, TRANSITIONS, Event, Phase
from .protocol import ClientMessage, ErrorCode, ProtocolError, ServerMessage, Start
from .segment import Segment
from .segmenter import Segmenter
from .segments import Segments
from .transcript import Hypothesis, Transcript
from .vad import Vad, webrtc_vad
from .work import SAMPLE_RATE, AlignedWord, Cancel, FeedAudio, Finish, OpenStream, Update, Work

_MS = SAMPLE_RATE // 1000
_REPLACED_WORTH_TELLING = 10  # partials that a slow reader missed, then each time as many again

_EVENTS: Mapping[type[ClientMessage], Event] = MappingProxyType(
    {
        wire.Start: Event.START,
        wire.Commit: Event.COMMIT,
        wire.Clear: Event.CLEAR,
        wire.Gap: Event.GAP,
        wire.Stop: Event.STOP,
    }
)


class Session:
    """One client's audio stream.

    Args:
        options: the server's defaults and limits; `start` overrides what a client may choose.
        session_id, model: told in `ready`.
        languages: English names that the model knows; () takes any.
        language_codes: other names for them (ISO codes, lower case).
        aligner: whether finals may carry words.
        resume_token: told in `ready`; None where the session cannot be resumed.
        resume_ttl_s: told in `ready`.
        new_vad: makes the frame classifier.
    """

    def __init__(
        self,
        options: SessionOptions,
        *,
        session_id: str,
        model: str,
        languages: tuple[str, ...] = (),
        language_codes: Mapping[str, str] = MappingProxyType({}),
        aligner: bool = False,
        resume_token: str | None = None,
        resume_ttl_s: int = 0,
        new_vad: Callable[[SessionOptions], Vad] = webrtc_vad,
    ) -> None:
        self.session_id = session_id
        self.phase = Phase.OPENING
        self.close_code: int | None = None
        """Set once the session wants the socket closed, after `messages_to_send` went out."""
        self.contradictions = 0
        """Finals that did not begin with the text committed before."""
        self._options = options
        self._model = model
        self._languages = Languages(languages, language_codes)
        self._aligner = aligner
        self._resume_token = resume_token
        self._resume_ttl_s = resume_ttl_s
        self._new_vad = new_vad
        self._start = Start()
        self._begun = False
        self._segmenter = Segmenter(Start(vad=False), options, new_vad)
        self._segments = Segments()
        self._load_interval_ms = 0
        self._ending: tuple[ErrorCode, str] | None = None
        self._attached = True
        self._outbox = Outbox(retained=options.max_retained)
        self._replaced_told = 0
        self._work: list[Work] = []

    def messages_to_send(self) -> list[ServerMessage]:
        """Everything to be sent now, in order; nothing while detached.

        Drain only when the socket can take it: what waits inside is coalesced.
        """
        return self._outbox.drain() if self._attached else []

    def work_to_run(self) -> list[Work]:
        """Everything for the engine, in order."""
        work, self._work = self._work, []
        return work

    @property
    def options(self) -> SessionOptions:
        """The options in force: after `start` with the client's choices."""
        return self._options

    @property
    def position(self) -> int:
        """Stream time in samples at 16 kHz, gaps included."""
        return self._segmenter.position

    @property
    def backlog(self) -> int:
        """Samples given to the engine and not covered by a hypothesis yet."""
        return self._segments.backlog

    @property
    def accepts_audio(self) -> bool:
        """False while the backlog is over half its bound: the caller does well to read the socket later."""
        return self.backlog < self._options.max_backlog_ms * _MS // 2

    @property
    def waiting(self) -> int:
        """Segments whose final is not sent yet."""
        return len(self._segments)

    @property
    def partials_replaced(self) -> int:
        """Partials that something newer of their segment replaced before they could be sent."""
        return self._outbox.partials_replaced

    @property
    def resumable(self) -> bool:
        """True if a lost client may come back: then call `detach`, else `receive_eof`."""
        return self._resume_token is not None and self._begun

    def receive_control(self, message: ClientMessage) -> None:
        """A text frame, decoded by `protocol.decode_client`."""
        if not self._enter(_EVENTS[type(message)]):
            return
        try:
            match message:
                case wire.Start():
                    self._begin(message)
                case wire.Commit():
                    self._follow(self._segmenter.commit("commit"))
                case wire.Clear():
                    self._follow(self._segmenter.clear())
                case wire.Gap():
                    self._follow(self._segmenter.gap(message.samples))
                case wire.Stop():
                    self._wind_down()
        except ProtocolError as error:
            self.receive_fault(error)
        self._check_bounds()

    def reconfigure(self, start: Start, offered: SessionOptions) -> None:
        """For protocols that let a client change its mind: from here on `start`, out of what is `offered`.

        Languages, context and intervals count from the next segment. A new format, or another way to find segments,
        ends the open one.

        Raises:
            ProtocolError: the session stays as it was.
        """
        options = negotiate(start, offered, self._languages)
        fresh = Segmenter(start, options, self._new_vad, at=self.position)
        if not self._segmenter.fits(start, options):
            self._follow(self._segmenter.commit("commit"))
            self._segmenter = fresh
        self._start = start
        self._options = options

    def receive_audio(self, pcm: bytes) -> None:
        """A binary frame in the encoding that `start` named."""
        if not self._enter(Event.AUDIO):
            return
        try:
            if len(pcm) > self._options.max_message_bytes:
                raise ProtocolError(
                    ErrorCode.MESSAGE_TOO_BIG,
                    f"a message of {len(pcm)} bytes, expected at most {self._options.max_message_bytes}",
                )
            self._follow(self._segmenter.hear(pcm))
        except ProtocolError as error:
            self.receive_fault(error)
        self._check_bounds()

    def receive_fault(self, error: ProtocolError) -> None:
        """The session ends at once, by a fault that the caller or the session itself found."""
        if self._enter(Event.FAULT):
            self._abort()
            self._put_error(error.code, error.message)

    def receive_eof(self) -> None:
        """The client is gone for good: work is cancelled."""
        if self._enter(Event.EOF):
            self._abort()
            self.close_code = wire.CLOSE_NORMAL

    def drain(
        self, code: ErrorCode = ErrorCode.RESTARTING, message: str = "the server is going away; connect again"
    ) -> None:
        """The server ends the session in good order: the open segment is finished, finals, `error`, close code."""
        if self._enter(Event.DRAIN):
            self._ending = (code, message)
            self._wind_down()

    def detach(self) -> None:
        """The connection is lost but the client may come back. Work goes on, messages are kept."""
        self._attached = False

    def reattach(self, start: Start) -> None:
        """The client is back on a new connection, which takes over from any older one.

        Raises:
            ProtocolError: the resume is refused (send it on the new connection); the session stays as it was.
        """
        first = self._start
        formats = [(each.sample_rate, each.encoding, each.channels) for each in (start, first)]
        if formats[0] != formats[1]:
            raise ProtocolError(
                ErrorCode.BAD_FIELD,
                f"audio of {formats[0]}, expected {formats[1]} as before the connection was lost",
            )
        self._outbox.resend_after(start.received, self._ready())
        self._attached = True
        for segment in self._segments.unsettled():
            if segment.transcript.revision:
                self._outbox.put(segment.partial())

    def receive_hypothesis(
        self, segment: int, hypothesis: Hypothesis, words: tuple[AlignedWord, ...] | None = None
    ) -> None:
        """A hypothesis of a segment; one of a segment that is over is ignored."""
        known = self._segments.find(segment)
        if known is None:
            return
        known.hear(hypothesis)
        if hypothesis.final and known.end is not None:
            self.contradictions += known.transcript.contradicted_by(hypothesis.text)
            self._settle(known, known.recognised(hypothesis, words, logprobs=self._start.logprobs))
        elif known.transcript.receive(hypothesis):
            self._outbox.put(known.partial())
        self._check_bounds()

    def receive_failure(self, segment: int, message: str) -> None:
        """The engine gave a segment up: its final has the committed text, a notice names the audio."""
        known = self._segments.find(segment)
        if known is None:
            return
        if known.end is None:
            # The speaker may go on speaking: what comes now is a segment of its own.
            self._follow(self._segmenter.commit("failure"))
        self._work = [each for each in self._work if each.segment != segment]
        self._settle(known, known.given_up(message))
        self._check_bounds()

    def receive_load(self, interval_ms: int) -> None:
        """The engine serves updates no more often than this now."""
        before = self._interval_ms
        self._load_interval_ms = interval_ms
        if self.phase is Phase.LISTENING and self._interval_ms != before:
            self._outbox.put(notices.lagging(self._interval_ms, busier=self._interval_ms > before))
            self._check_bounds()

    @property
    def _interval_ms(self) -> int:
        return max(self._options.interval_ms, self._load_interval_ms)

    def _enter(self, event: Event) -> bool:
        """Look the event up; True if its action shall run."""
        outcome = TRANSITIONS[self.phase, event]
        if isinstance(outcome, ErrorCode):
            self.receive_fault(ProtocolError(outcome, REFUSALS[outcome]))
            return False
        if outcome is None:
            return False
        self.phase = outcome
        return True

    def _begin(self, start: Start) -> None:
        options = negotiate(start, self._options, self._languages)
        self._segmenter = Segmenter(start, options, self._new_vad)
        self._start = start
        self._begun = True
        self._options = options
        self._outbox.put(self._ready())
        if start.words and not self._aligner:
            self._outbox.put(notices.words_unavailable())

    def _ready(self) -> wire.Ready:
        return wire.Ready(
            session=self.session_id,
            model=self._model,
            languages=self._languages.names,
            resume=self._resume_token,
            audio_samples=self._segmenter.samples_received,
            stopped=self.phase in (Phase.STOPPING, Phase.CLOSED),
            interval_ms=self._interval_ms,
            endpoint_ms=self._options.endpoint_ms,
            limits=limits(self._options, self._resume_ttl_s),
        )

    def _wind_down(self) -> None:
        """No more audio: end the open segment, and the session with its last final."""
        self._follow(self._segmenter.commit("stop"))
        self._conclude()

    def _conclude(self) -> None:
        """Close if everything is said that had to be."""
        if self._segments or self.phase not in (Phase.STOPPING, Phase.DRAINING):
            return
        self.phase = Phase.CLOSED
        if self._ending is not None:
            self._put_error(*self._ending)
            return
        self._outbox.put(wire.Done(audio_ms=self.position // _MS, segments=self._segments.opened))
        self.close_code = wire.CLOSE_NORMAL

    def _abort(self) -> None:
        """End all segments now, without the engine."""
        if self._segmenter.open:
            self._follow(self._segmenter.commit("stop"))
        self._work = [each for each in self._work if isinstance(each, OpenStream | Cancel)]
        for segment in self._segments.unsettled():
            self._work.append(Cancel(segment.number))
            self._settle(segment, segment.given_up("the session ended before this was transcribed"))

    def _check_bounds(self) -> None:
        """Memory is bounded whatever the client and the engine do; looked at when nothing is half done."""
        options = self._options
        if len(self._outbox) > options.max_outbox:
            self.receive_fault(
                ProtocolError(ErrorCode.SLOW_READER, f"{len(self._outbox)} messages wait for the client to read them")
            )
        elif self.backlog > options.max_backlog_ms * _MS or self.waiting > options.max_waiting:
            waits = f"{self.backlog // _MS} ms of audio in {self.waiting} segments wait to be transcribed"
            self.receive_fault(ProtocolError(ErrorCode.BACKLOG_FULL, waits))
        elif self.position >= options.max_session_s * SAMPLE_RATE:
            self.drain(ErrorCode.SESSION_TOO_LONG, f"a session has at most {options.max_session_s} s; connect again")
        elif self._attached and self.partials_replaced >= self._replaced_told + _REPLACED_WORTH_TELLING:
            self._outbox.put(notices.partials_dropped(self.partials_replaced - self._replaced_told))
            self._replaced_told = self.partials_replaced

    def _follow(self, events: list[ChunkerEvent]) -> None:
        for event in events:
            match event:
                case chunks.SegmentStart(at):
                    self._open_segment(at)
                case chunks.SegmentAudio(_, samples):
                    segment = self._segments.newest
                    segment.fed += len(samples)
                    segment.due += len(samples)
                    self._work.append(FeedAudio(segment.number, samples))
                    if segment.due >= self._interval_ms * _MS:
                        self._ask_for_update(segment)
                case chunks.SegmentPause():
                    self._ask_for_update(self._segments.newest)
                case chunks.SegmentEnd(at, reason):
                    self._end_segment(at, reason)

    def _open_segment(self, at: int) -> None:
        options = self._options
        transcript = Transcript(agreement=options.commit_agreement, hold_back=options.commit_hold_back_ms * _MS)
        segment = self._segments.open(at, transcript)
        self._outbox.put(wire.SpeechStart(segment=segment.number, at_ms=at // _MS))
        words = self._start.words and self._aligner
        self._work.append(OpenStream(segment.number, options.language, options.languages, options.context, words))

    def _end_segment(self, at: int, reason: wire.SpeechEndReason) -> None:
        segment = self._segments.newest
        segment.end = at
        self._outbox.put(wire.SpeechEnd(segment=segment.number, at_ms=at // _MS, reason=reason))
        if reason == "clear":
            self._work.append(Cancel(segment.number))
            self._settle(segment, segment.cleared())
        else:
            self._work.append(Finish(segment.number))

    def _ask_for_update(self, segment: Segment) -> None:
        if segment.due:
            segment.due = 0
            self._work.append(Update(segment.number, self._interval_ms))

    def _settle(self, segment: Segment, closing: tuple[ServerMessage, ...]) -> None:
        """The segment's last messages are known."""
        for message in self._segments.settle(segment, closing):
            self._outbox.put(message)
        self._conclude()

    def _put_error(self, code: ErrorCode, message: str) -> None:
        audio_ms = self.position // _MS if self.position else None
        self._outbox.put(wire.Error(code=code, message=message, audio_ms=audio_ms))
        self.close_code = wire.CLOSE_CODES[code]
