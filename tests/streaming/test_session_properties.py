"""Whatever comes, in whatever order: a session never raises and keeps its promises on the wire."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno.streaming import protocol as wire
from steno.streaming.config import SessionOptions
from steno.streaming.phases import Phase
from steno.streaming.protocol import ErrorCode, ProtocolError, ServerMessage
from steno.streaming.session import Session
from steno.streaming.work import Cancel, FeedAudio, Finish, OpenStream, Work
from tests.scripted import LevelVad, Said

Step = Callable[["Listener"], object]

OPTIONS = SessionOptions(
    max_segment_ms=5000,
    cut_search_ms=1000,
    endpoint_ms=200,
    min_speech_ms=20,
    max_outbox=40,
    max_retained=16,
    max_waiting=6,
    max_session_s=90,
    max_backlog_ms=30_000,
)


def audio(kind: str, ms: int) -> bytes:
    value = {"loud": 9000, "quiet": 0}[kind]
    return np.full(ms * 16, value, "<i2").tobytes()


def begin(start: wire.Start) -> Step:
    def run(listener: "Listener") -> None:
        if listener.session.phase is Phase.OPENING:
            listener.start = start
        listener.session.receive_control(start)

    return run


def hear(segment: int, said: Said) -> Step:
    return lambda listener: listener.session.receive_hypothesis(segment, said)


def fail(segment: int) -> Step:
    def run(listener: "Listener") -> None:
        listener.failed.add(segment)
        listener.session.receive_failure(segment, "failed")

    return run


def lose_and_return(missed: int) -> Step:
    """The connection breaks and the client comes back; of what was sent the last `missed` messages were lost."""

    def run(listener: "Listener") -> None:
        session = listener.session
        if not session.resumable or listener.closing:
            return
        session.detach()
        session.receive_hypothesis(0, Said("while away"))
        assert session.messages_to_send() == []
        back = msgspec.structs.replace(listener.start, resume="t", received=max(listener.seq - missed, 0))
        if missed > OPTIONS.max_retained:
            with pytest.raises(ProtocolError):
                session.reattach(msgspec.structs.replace(back, received=-1))
            back = msgspec.structs.replace(back, received=listener.seq)
        session.reattach(back)

    return run


STARTS = st.builds(
    wire.Start,
    version=st.sampled_from([1, 1, 1, 2]),
    language=st.sampled_from([None, "English", "en", "xx"]),
    sample_rate=st.sampled_from([16_000, 16_000, 8000, 48_000, 7]),
    encoding=st.sampled_from(["pcm_s16le", "pcm_s16le", "pcm_f32le", "mulaw", "opus"]),
    channels=st.sampled_from([1, 1, 2, 3]),
    interval_ms=st.sampled_from([None, 100, 5000, -1]),
    vad=st.booleans(),
    words=st.booleans(),
)
SPEAKING: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["loud", "loud", "quiet"]), st.sampled_from([0, 20, 35, 300, 1500, 9000])).map(
        lambda each: lambda listener: listener.session.receive_audio(audio(*each))
    ),
    st.sampled_from([wire.Commit(), wire.Clear(), wire.Gap(samples=1600), wire.Gap(samples=90_000)]).map(
        lambda message: lambda listener: listener.session.receive_control(message)
    ),
    st.builds(
        Said,
        text=st.text(max_size=8),
        samples_seen=st.integers(0, 200_000),
        final=st.booleans(),
        truncated=st.booleans(),
        language=st.sampled_from([None, "English"]),
        logprobs=st.sampled_from([(), (-0.5,)]),
    ).flatmap(
        lambda said: st.integers(0, 6).map(lambda n: lambda listener: listener.session.receive_hypothesis(n, said))
    ),
    st.integers(0, 6).map(fail),
    st.sampled_from([100, 3000]).map(lambda ms: lambda listener: listener.session.receive_load(ms)),
    st.integers(0, OPTIONS.max_retained + 2).map(lose_and_return),
)
ENDING: st.SearchStrategy[Step] = st.one_of(
    STARTS.map(begin),
    st.binary(max_size=9).map(lambda pcm: lambda listener: listener.session.receive_audio(pcm)),
    st.sampled_from([wire.Stop(), wire.Gap(samples=-3), wire.Gap(samples=10**18)]).map(
        lambda message: lambda listener: listener.session.receive_control(message)
    ),
    st.sampled_from(list(ErrorCode)).map(
        lambda code: lambda listener: listener.session.receive_fault(ProtocolError(code, "seen by the server"))
    ),
    st.just(lambda listener: listener.session.drain()),
    st.just(lambda listener: listener.session.receive_eof()),
)


PIECES = st.lists(st.tuples(st.sampled_from(["loud", "quiet"]), st.integers(1, 3000)), min_size=1, max_size=12)


class Listener:
    """Both readers of a session, checking on the way what each may rely on."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.started: list[int] = []
        self.ended: dict[int, int] = {}
        self.finals: list[int] = []
        self.committed: dict[int, str] = {}
        self.seq = 0
        self.streams: dict[int, str] = {}
        self.closing = False
        self.failed: set[int] = set()
        self.start = wire.Start()

    def read(self) -> None:
        for each in self.session.work_to_run():
            self.hear_work(each)
        for message in self.session.messages_to_send():
            self.hear(message)

    def hear_work(self, work: Work) -> None:
        state = self.streams.get(work.segment)
        if isinstance(work, OpenStream):
            assert state is None
            self.streams[work.segment] = "open"
        elif isinstance(work, Cancel):
            assert state in ("open", "finished")
            self.streams[work.segment] = "cancelled"
        else:
            assert state == "open", f"{work} in state {state}"
            if isinstance(work, Finish):
                self.streams[work.segment] = "finished"
            if isinstance(work, FeedAudio):
                assert len(work.samples) > 0

    def hear(self, message: ServerMessage) -> None:
        assert not self.closing, "nothing follows done or error"
        if not isinstance(message, wire.Ready | wire.Partial):
            if message.seq <= self.seq:
                return  # sent again after a resume
            assert message.seq == self.seq + 1
            self.seq = message.seq
        match message:
            case wire.SpeechStart(segment=segment):
                assert segment == len(self.started)
                self.started.append(segment)
            case wire.Partial(segment=segment, committed=committed):
                assert segment in self.started
                assert segment not in self.finals
                assert committed.startswith(self.committed.get(segment, ""))
                self.committed[segment] = committed
            case wire.SpeechEnd(segment=segment, at_ms=at_ms):
                assert segment in self.started
                assert segment not in self.ended
                self.ended[segment] = at_ms
            case wire.Final(segment=segment, end_ms=end_ms, start_ms=start_ms):
                assert segment == len(self.finals)
                assert self.ended[segment] == end_ms >= start_ms
                self.finals.append(segment)
            case wire.Done(segments=segments):
                assert segments == len(self.started) == len(self.finals)
                self.closing = True
            case wire.Error(code=code):
                assert self.session.close_code == wire.CLOSE_CODES[code]
                self.closing = True


def new_session() -> Session:
    return Session(
        OPTIONS,
        session_id="s",
        model="m",
        languages=("English",),
        language_codes={"en": "English"},
        resume_token="t",
        new_vad=lambda _: LevelVad(),
    )


def play(steps: list[tuple[Step, bool]]) -> tuple[Session, Listener]:
    session = new_session()
    listener = Listener(session)
    for step, read in steps:
        step(listener)
        if read:
            listener.read()
    return session, listener


def bring_to_an_end(session: Session, listener: Listener) -> None:
    """The client stops and the engine answers all that it was asked."""
    if session.phase in (Phase.OPENING, Phase.LISTENING):
        session.drain()
    for segment in range(200):
        session.receive_hypothesis(segment, Said("end", final=True))
    listener.read()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.one_of(SPEAKING, ENDING), st.booleans()), max_size=30))
def test_any_sequence(steps: list[tuple[Step, bool]]) -> None:
    session, listener = play(steps)
    bring_to_an_end(session, listener)
    assert session.phase is Phase.CLOSED
    assert session.close_code is not None
    assert session.waiting == session.backlog == 0
    assert listener.finals == listener.started


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(SPEAKING, st.booleans()), max_size=40), st.booleans())
def test_any_talk_after_a_good_start(steps: list[tuple[Step, bool]], with_vad: bool) -> None:
    begin: list[tuple[Step, bool]] = [
        (lambda listener: listener.session.receive_control(wire.Start(vad=len(steps) % 2 == 0)), True)
    ]
    session, listener = play(begin + steps)
    bring_to_an_end(session, listener)
    assert listener.finals == listener.started
    open_streams = {segment for segment, state in listener.streams.items() if state == "open"}
    assert open_streams <= listener.failed, "the engine would keep these for ever"


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["loud", "quiet"]), st.integers(1, 3000)), min_size=1, max_size=12), st.data()
)
def test_message_borders_do_not_change_what_the_engine_hears(
    pieces: list[tuple[str, int]], data: st.DataObject
) -> None:
    pcm = b"".join(audio(kind, ms) for kind, ms in pieces)
    cuts = data.draw(st.lists(st.integers(0, len(pcm) // 2), max_size=12).map(sorted))
    borders = [0, *(2 * cut for cut in cuts), len(pcm)]

    def heard(frames: list[bytes]) -> tuple[dict[int, bytes], list[ServerMessage]]:
        session = new_session()
        session.receive_control(wire.Start())
        for frame in frames:
            session.receive_audio(frame)
        session.receive_control(wire.Stop())
        audio_of: dict[int, bytes] = {}
        for each in session.work_to_run():
            if isinstance(each, FeedAudio):
                audio_of[each.segment] = audio_of.get(each.segment, b"") + each.samples.tobytes()
        return audio_of, session.messages_to_send()

    assert heard([pcm[start:end] for start, end in zip(borders, borders[1:], strict=False)]) == heard([pcm])
