"""The client against a scripted server on a real socket: the whole exchange, and every way in which it can break."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import numpy as np
import pytest

from steno.client.client import Client, ConnectionLost
from steno.client.connection import CannotConnect, ClientError, ServerError, stream_url
from steno.client.events import Event, Reconnected
from steno.client.replay import Frame
from steno.streaming.protocol import (
    Clear,
    Commit,
    Done,
    Error,
    ErrorCode,
    Final,
    Gap,
    Partial,
    SpeechStart,
    Start,
    Stop,
)
from tests.client.fake_server import FakeServer, Peer, Script, ready

_T = TypeVar("_T")

SECOND = np.zeros(16_000, np.float32)
FINAL = Final(segment=0, text="one", language="English", start_ms=0, end_ms=500, seq=2)
DONE = Done(audio_ms=1000, segments=1, seq=3)


def run(coroutine: Coroutine[None, None, _T]) -> _T:
    async def bounded() -> _T:
        async with asyncio.timeout(30):
            return await coroutine

    return asyncio.run(bounded())


async def no_wait(seconds: float) -> None:
    """Stands for the sleep between two tries; the event loop still gets its turn."""
    await asyncio.sleep(0)


def partial(text: str, revision: int) -> Partial:
    return Partial(segment=0, revision=revision, committed=text, tentative="", start_ms=0, end_ms=400)


async def converse(
    *scripts: Script, audio: bytes | np.ndarray = SECOND, reconnects: int = 1, start: Start | None = None
) -> list[Event]:
    """Send `audio`, finish, and collect what comes."""
    async with (
        FakeServer(*scripts) as server,
        Client(server.url, start, reconnects=reconnects, sleep=no_wait, retry_delays_s=(0.1, 0.2)) as client,
    ):
        await client.send(audio)
        await client.finish()
        return [event async for event in client]


def test_audio_goes_out_and_events_come_in_until_done() -> None:
    heard: list[Frame | Start] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.hear_start())
        await peer.say(ready())
        heard.extend(f for f in await peer.hear_until(Stop) if not isinstance(f, Start))
        await peer.say(SpeechStart(segment=0, at_ms=0, seq=1), partial("on", 1), FINAL, DONE)
        await peer.close()

    wave = np.array([0.0, 0.5, -1.0, 1.0], np.float32)
    events = run(converse(script, audio=wave, start=Start(language="English", interval_ms=300)))
    assert heard == [
        Start(language="English", interval_ms=300),
        np.array([0, 16384, -32768, 32767], "<i2").tobytes(),
        Stop(),
    ]
    assert events == [SpeechStart(segment=0, at_ms=0, seq=1), partial("on", 1), FINAL, DONE]


def test_every_message_of_the_client_reaches_the_server_in_order() -> None:
    heard: list[object] = []

    async def script(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        heard.extend(await peer.hear_until(Stop))
        await peer.say(DONE)

    async def talk() -> None:
        async with FakeServer(script) as server, Client(server.url) as client:
            assert client.ready.model == "fake"
            await client.send(b"\1\0")
            await client.commit()
            await client.skip(400)
            await client.send(b"\2\0")
            await client.clear()
            await client.finish()
            assert [event async for event in client] == [DONE]

    run(talk())
    assert heard == [b"\1\0", Commit(), Gap(samples=400), b"\2\0", Clear(), Stop()]


def test_float_samples_are_sent_as_floats_where_the_session_says_so() -> None:
    heard: list[object] = []

    async def script(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        heard.extend(await peer.hear_until(Stop))
        await peer.say(DONE)

    wave = np.array([0.25, -0.5], np.float32)
    run(converse(script, audio=wave, start=Start(encoding="pcm_f32le")))
    assert heard[0] == wave.tobytes()


def test_the_token_goes_into_the_header() -> None:
    async def script(peer: Peer) -> None:
        assert peer.headers["Authorization"] == "Bearer secret"
        await peer.hear_start()
        await peer.say(ready())
        await peer.hear()

    async def talk() -> None:
        async with FakeServer(script) as server, Client(server.url, token="secret"):
            pass

    run(talk())


def test_partials_that_nobody_has_read_yet_are_replaced_by_newer_ones() -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.hear_until(Stop)
        await peer.say(*(partial("x" * n, n) for n in range(1, 50)), FINAL, DONE)

    async def talk() -> list[Event]:
        async with FakeServer(script) as server, Client(server.url) as client:
            await client.finish()
            events = [await anext(client)]
            await client._conversation  # type: ignore[misc]  # all has arrived, nothing was read
            return events + [event async for event in client]

    events = run(talk())
    assert events[-2:] == [FINAL, DONE]
    assert events[-3] == partial("x" * 49, 49)
    assert len(events) <= 4


def test_a_broken_connection_is_resumed_with_the_audio_the_server_lacks() -> None:
    heard: list[object] = []

    async def breaks(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready(resume="ticket"))
        await peer.hear_samples(3)
        await peer.say(SpeechStart(segment=0, at_ms=0, seq=1))
        await peer.hear_until(Commit)
        peer.vanish()

    async def resumes(peer: Peer) -> None:
        heard.append(await peer.hear_start())
        await peer.say(ready(resume="ticket 2", audio_samples=2))
        heard.extend(await peer.hear_until(Stop))
        # Said before, said again: the client must not show it twice.
        await peer.say(SpeechStart(segment=0, at_ms=0, seq=1), FINAL, DONE)

    async def talk() -> list[Event]:
        async with FakeServer(breaks, resumes) as server, Client(server.url, sleep=no_wait) as client:
            await client.send(b"\1\0\2\0\3\0")
            events = [await anext(client)]
            await client.commit()
            events.append(await anext(client))
            await client.send(b"\4\0")
            await client.finish()
            return events + [event async for event in client]

    events = run(talk())
    assert heard == [Start(resume="ticket", received=1), b"\3\0", Commit(), b"\4\0", Stop()]
    assert isinstance(events[1], Reconnected)
    assert (events[1].resumed, events[1].missing_ms) == (True, 0)
    assert [events[0], *events[2:]] == [SpeechStart(segment=0, at_ms=0, seq=1), FINAL, DONE]


@pytest.mark.parametrize("resume", [None, "ticket"])
def test_where_the_session_is_lost_a_new_one_gets_the_audio_after_the_last_final(resume: str | None) -> None:
    """Without a ticket the client begins anew at once; with one, the restarted server does not know it."""
    heard: list[object] = []

    async def breaks(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready(resume=resume))
        await peer.hear_samples(16_000)
        await peer.say(SpeechStart(segment=0, at_ms=0, seq=1), FINAL, SpeechStart(segment=1, at_ms=700, seq=3))
        await peer.close(1012, "restarting")

    async def does_not_know(peer: Peer) -> None:
        assert (await peer.hear_start()).resume == "ticket"
        await peer.say(Error(code=ErrorCode.UNKNOWN_RESUME, message="no such session"))
        await peer.close(1008)

    async def begins(peer: Peer) -> None:
        heard.append(await peer.hear_start())
        await peer.say(ready())
        heard.extend(await peer.hear_until(Stop))
        await peer.say(
            SpeechStart(segment=0, at_ms=200, seq=1),
            Final(segment=0, text="two", start_ms=200, end_ms=500, seq=2),
            Done(audio_ms=500, segments=1, seq=3),
        )

    async def talk() -> list[Event]:
        scripts = (breaks, does_not_know, begins) if resume else (breaks, begins)
        async with FakeServer(*scripts) as server, Client(server.url, sleep=no_wait) as client:
            await client.send(SECOND)
            events = [await anext(client) for _ in range(4)]
            await client.finish()
            return events + [event async for event in client]

    events = run(talk())
    audio = b"".join(frame for frame in heard if isinstance(frame, bytes))
    assert heard[0] == Start()
    assert len(audio) == 2 * 8000  # the second half: 500 ms were in the final
    reconnected = events[3]
    assert isinstance(reconnected, Reconnected)
    assert (reconnected.resumed, reconnected.missing_ms) == (False, 0)
    assert "restarting" in reconnected.reason
    assert events[4:] == [
        SpeechStart(segment=1, at_ms=700, seq=1),
        Final(segment=1, text="two", start_ms=700, end_ms=1000, seq=2),
        Done(audio_ms=1000, segments=2, seq=3),
    ]


def test_a_server_that_goes_away_in_good_order_says_where_the_next_one_begins() -> None:
    heard: list[object] = []

    async def drains(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.hear_samples(16_000)
        await peer.say(FINAL, Error(code=ErrorCode.RESTARTING, message="going away", audio_ms=900, seq=3))
        await peer.close(1012)

    async def begins(peer: Peer) -> None:
        heard.append(await peer.hear_start())
        await peer.say(ready())
        heard.extend(await peer.hear_until(Stop))
        await peer.say(Done(audio_ms=100, segments=0, seq=1))

    events = run(converse(drains, begins))
    assert heard == [Start(), bytes(2 * 1600), Stop()]
    assert events[0] == FINAL
    assert events[-1] == Done(audio_ms=1000, segments=1, seq=1)


def test_a_server_that_has_stop_already_hears_nothing_again() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.hear_until(Stop)
        peer.vanish()

    async def resumes(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready(audio_samples=16_000, stopped=True))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.hear(), 0.1)
        await peer.say(FINAL, DONE)

    events = run(converse(breaks, resumes))
    assert [type(event) for event in events] == [Reconnected, Final, Done]


def test_audio_that_comes_in_a_burst_is_held_to_the_pace_that_servers_accept() -> None:
    """Two minutes of audio at once: what is more than `ahead_s` ahead of the clock goes out as time passes."""
    now_s, slept_s = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        slept_s.append(seconds)
        now_s += seconds
        await asyncio.sleep(0)

    async def script(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.hear_until(Stop)
        await peer.say(DONE)

    async def talk() -> None:
        async with (
            FakeServer(script) as server,
            Client(server.url, ahead_s=50.0, unsent_s=200, clock=lambda: now_s, sleep=sleep) as client,
        ):
            for _ in range(120):
                await client.send(SECOND)
            await client.finish()
            assert [event async for event in client] == [DONE]

    run(talk())
    assert slept_s == pytest.approx([1.0] * 70)


def test_an_error_of_the_servers_own_making_is_mended_with_a_new_session() -> None:
    async def fails(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.say(Error(code=ErrorCode.INTERNAL, message="sorry"))
        await peer.close(1011)

    async def works(peer: Peer) -> None:
        assert (await peer.hear_start()).resume is None
        await peer.say(ready())
        await peer.hear_until(Stop)
        await peer.say(DONE)

    events = run(converse(fails, works))
    assert [type(event) for event in events] == [Reconnected, Done]


def test_a_second_break_in_a_row_is_the_end_with_a_clear_error() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.close(1011, "out of order")

    with pytest.raises(ConnectionLost, match=r"ws://127.* broke: the server closed it with code 1011, out of order"):
        run(converse(breaks, breaks))


def test_breaks_with_progress_between_them_are_all_mended() -> None:
    def breaks_after(seq: int) -> Script:
        async def script(peer: Peer) -> None:
            await peer.hear_start()
            await peer.say(ready(), SpeechStart(segment=seq, at_ms=0, seq=seq))
            await peer.close(1011)

        return script

    async def ends(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready(), Done(audio_ms=0, segments=0, seq=9))

    events = run(converse(breaks_after(1), breaks_after(2), breaks_after(3), ends))
    assert sum(isinstance(event, Reconnected) for event in events) == 3
    assert isinstance(events[-1], Done)


def test_no_reconnect_when_none_is_wanted() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        peer.vanish()

    with pytest.raises(ConnectionLost, match="went away without a word"):
        run(converse(breaks, reconnects=0))


def test_a_server_that_stays_away_is_tried_after_each_delay_and_then_given_up() -> None:
    waited: list[float] = []

    async def recorded(seconds: float) -> None:
        waited.append(seconds)

    async def breaks(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.close(1012)

    async def talk() -> None:
        async with FakeServer(breaks) as server:
            async with Client(server.url, sleep=recorded, retry_delays_s=(1, 2, 4)) as client:
                async for _ in client:
                    pass

    with pytest.raises(ConnectionLost, match=r"code 1012.* could not be restored: .*no script"):
        run(talk())
    assert waited == [1, 2, 4]


@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN_LANGUAGE, ErrorCode.FULL])
def test_a_refusal_at_the_start_is_the_servers_word(code: ErrorCode) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(Error(code=code, message="Klingon is not among the languages"))
        await peer.close(1007)

    with pytest.raises(ServerError, match="Klingon") as caught:
        run(converse(refuses))
    assert caught.value.code is code


def test_an_error_in_the_middle_reaches_sender_and_reader() -> None:
    async def refuses(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready(), FINAL, Error(code=ErrorCode.TOO_FAST, message="slow down"))
        await peer.close(1008)

    async def talk() -> None:
        async with FakeServer(refuses) as server, Client(server.url) as client:
            assert await anext(client) == FINAL  # what came before the error is not lost
            with pytest.raises(ServerError, match="slow down"):
                await anext(client)
            with pytest.raises(ServerError, match="slow down"):
                await client.send(SECOND)

    run(talk())


def test_garbage_from_the_server_is_an_error_not_a_crash() -> None:
    async def babbles(peer: Peer) -> None:
        await peer.hear_start()
        await peer.say(ready())
        await peer.say_raw("{not json")

    with pytest.raises(ClientError, match="not this protocol"):
        run(converse(babbles))


def test_nobody_listening_is_told_with_the_way_to_start_a_server() -> None:
    with pytest.raises(CannotConnect, match=r"cannot reach .*:1/v1/stream: nobody listens there; .*steno serve"):
        run(Client("127.0.0.1:1").__aenter__())


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    async def sleeps(peer: Peer) -> None:
        await peer.hear_start()
        await peer.hear()  # until the client gives up and closes

    async def talk() -> None:
        async with FakeServer(sleeps) as server, Client(server.url, connect_timeout_s=0.2):
            pass

    with pytest.raises(CannotConnect, match=r"did not answer within 0\.2 s"):
        run(talk())


def test_sending_waits_while_the_connection_is_down() -> None:
    """Back-pressure: what a file holds is not read into memory while nobody takes it."""

    async def talk() -> None:
        back = asyncio.Event()

        async def until_back(seconds: float) -> None:
            await back.wait()

        async def breaks(peer: Peer) -> None:
            await peer.hear_start()
            await peer.say(ready())
            await peer.close(1012)

        async def ends(peer: Peer) -> None:
            await peer.hear_start()
            await peer.say(ready())
            await peer.hear_until(Stop)
            await peer.say(DONE)

        async with FakeServer(breaks, ends) as server, Client(server.url, sleep=until_back, unsent_s=2.0) as client:
            sent = 0

            async def send_all() -> None:
                nonlocal sent
                for _ in range(20):
                    await client.send(SECOND)
                    sent += 1
                await client.finish()

            sending = asyncio.ensure_future(send_all())
            for _ in range(200):
                await asyncio.sleep(0.001)
            assert 2 <= sent < 20
            back.set()
            await sending
            assert [type(event) async for event in client] == [Reconnected, Done]

    run(talk())


def test_leaving_early_closes_the_connection() -> None:
    async def talk() -> None:
        closed = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.hear_start()
            await peer.say(ready())
            try:
                await peer.hear_until(Stop)
            finally:
                closed.set()

        async with FakeServer(script) as server:
            async with Client(server.url):
                pass
            await closed.wait()

    run(talk())


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("localhost", "ws://localhost/v1/stream"),
        ("localhost:8765", "ws://localhost:8765/v1/stream"),
        ("http://host:80/", "ws://host:80/v1/stream"),
        ("https://captions.example", "wss://captions.example/v1/stream"),
        ("wss://h/deep/v1/stream?x=1", "wss://h/deep/v1/stream?x=1"),
        ("ws://[::1]:8765", "ws://[::1]:8765/v1/stream"),
    ],
)
def test_what_people_type_becomes_the_address_of_the_stream(typed: str, url: str) -> None:
    assert stream_url(typed) == url


@pytest.mark.parametrize("typed", ["", "ftp://host", "ws://"])
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="no address of a server"):
        stream_url(typed)


def test_an_unknown_encoding_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match=r"encoding is 'mp3', expected one of pcm_s16le"):
        Client(start=Start(encoding="mp3"))
