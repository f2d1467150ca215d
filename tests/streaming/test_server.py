"""`/v1/stream` over the real socket: what a client of good will sees, alone, in company, and at the server's end."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions
from tests.fakes import POISON, FakeStream, tone
from tests.live import Conversation, Live, hear, hear_out, in_loop, live_server, pcm, say, until

PUSH_TO_TALK = {"vad": False, "interval_ms": 100}


async def dictate(live: Live, level: float, segments: int = 1) -> Conversation:
    """A client that commits each segment itself: half a second of a level that the fake hears as words."""
    async with live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        for _ in range(segments):
            for _ in range(5):
                await client.send(pcm(tone(level, 0.1)))
            await say(client, "commit")
        await say(client, "stop")
        return await hear_out(client)


class Gate:
    """Holds the model's thread inside a step until told to go on."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self._go_on = threading.Event()

    def __call__(self, streams: Sequence[FakeStream]) -> None:
        self.inside.set()
        assert self._go_on.wait(30)

    def open(self) -> None:
        self._go_on.set()


@in_loop
async def test_from_start_to_done() -> None:
    async with live_server() as live:
        heard = await dictate(live, 0.1, segments=2)
        kinds = [message["type"] for message in heard.messages if message["type"] != "partial"]
        assert kinds[0] == "ready"
        assert kinds[-1] == "done"
        assert kinds.count("speech_start") == kinds.count("speech_end") == 2
        assert heard.texts == ["w100 w100 w100 w100 w100"] * 2
        assert heard.code == 1000
        ready = heard.messages[0]
        assert ready["model"] == "fake"
        assert ready["session"]
        assert heard.messages[-1]["segments"] == 2
        assert heard.messages[-1]["audio_ms"] == 1000
        await live.quiet()


@in_loop
async def test_partials_come_while_the_client_speaks() -> None:
    async with live_server() as live, live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        words = 0
        while words < 3:
            await client.send(pcm(tone(0.1, 0.1)))
            partial = await hear(client, "partial")
            shown = partial["committed"] + partial["tentative"]
            assert set(shown.split()) == {"w100"}
            words = len(shown.split())


@in_loop
async def test_clients_at_the_same_time_get_their_own_words() -> None:
    async with live_server() as live:
        levels = [0.02 * (index + 1) for index in range(24)]
        heard = await asyncio.gather(*(dictate(live, level, segments=2) for level in levels))
        for level, conversation in zip(levels, heard, strict=True):
            assert conversation.texts == [" ".join([f"w{round(level * 1000)}"] * 5)] * 2
            assert conversation.code == 1000
        await live.quiet()
        assert live.value("steno_sessions_closed_total", code="1000") == 24
        assert max(len(step) for step in live.recognizer.steps) > 1, "sessions should share steps"


@in_loop
async def test_a_poisoned_utterance_costs_its_session_one_segment_only() -> None:
    async with live_server() as live, live.connect() as sick:
        await say(sick, "start", **PUSH_TO_TALK, encoding="pcm_f32le")
        poison = tone(0.1, 0.5)
        poison[100] = POISON
        healthy = asyncio.create_task(dictate(live, 0.2, segments=3))
        for audio in (poison, tone(0.3, 0.5)):
            await sick.send(audio.tobytes())
            await say(sick, "commit")
        await say(sick, "stop")
        heard = await hear_out(sick)
        assert heard.texts[-1] == "w300 w300 w300 w300 w300"
        assert [notice["code"] for notice in heard.of("notice")] == ["untranscribed"]
        assert heard.code == 1000
        assert (await healthy).texts == ["w200 w200 w200 w200 w200"] * 3


@in_loop
async def test_pings_are_answered_and_others_are_heard_while_the_model_works() -> None:
    gate = Gate()
    async with live_server(before_step=gate) as live, live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        await client.send(pcm(tone(0.1, 0.2)))
        await until(gate.inside.is_set)
        for _ in range(20):
            await client.send(pcm(tone(0.1, 0.1)))
            await (await client.ping())
        async with live.connect() as other:
            await say(other, "start")
            assert (await hear(other))["type"] == "ready"
        gate.open()
        await say(client, "stop")
        assert (await hear_out(client)).texts == [" ".join(["w100"] * 22)]


@in_loop
async def test_load_is_announced() -> None:
    """The notice comes from the engine's pace; here the engine says it directly."""
    async with live_server() as live, live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        await client.send(pcm(tone(0.1, 0.2)))
        await hear(client, "partial")
        live.engine._pace._rung = 3  # as after seconds of saturation
        live.engine._pace._changed = float("inf")
        await client.send(pcm(tone(0.1, 0.2)))
        notice = await hear(client, "notice")
        assert notice["code"] == "lagging"
        assert notice["interval_ms"] == 300


# The end of the server


@in_loop
async def test_a_drain_lets_open_utterances_get_their_finals() -> None:
    gate = Gate()
    async with live_server(before_step=gate) as live, live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        await client.send(pcm(tone(0.1, 0.5)))
        await until(gate.inside.is_set)
        live.server.ask_to_end()
        await until(live.service.admission.draining.is_set)
        async with live.connect() as late:
            refused = await hear_out(late)
            assert (refused.error, refused.code) == ("restarting", 1012)
        async with httpx.AsyncClient() as http:
            ready = await http.get(live.http("/readyz"))
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
            assert (await http.get(live.http("/healthz"))).status_code == 200
        gate.open()
        heard = await hear_out(client)
        assert heard.texts == ["w100 w100 w100 w100 w100"]
        assert (heard.error, heard.code) == ("restarting", 1012)


@in_loop
async def test_a_drain_also_ends_connections_that_never_started() -> None:
    async with live_server() as live, live.connect() as client:
        await until(lambda: live.service.admission.sessions == 1)
        live.server.ask_to_end()
        assert (await hear_out(client)).code == 1012


@in_loop
async def test_a_drain_has_an_end() -> None:
    gate = Gate()
    options = ServerOptions(resume_ttl_s=0, drain_timeout_s=0.05)
    async with live_server(before_step=gate, server=options) as live, live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        await client.send(pcm(tone(0.1, 0.5)))
        await until(gate.inside.is_set)
        live.server.ask_to_end()
        assert (await hear_out(client)).code == 1012
        gate.open()


@in_loop
async def test_a_stopped_engine_closes_sessions_with_1011() -> None:
    async with live_server() as live, live.connect() as client:
        await say(client, "start", **PUSH_TO_TALK)
        await hear(client, "ready")
        await asyncio.to_thread(live.engine.stop)
        await client.send(pcm(tone(0.1, 0.5)))
        heard = await hear_out(client)
        assert (heard.error, heard.code) == ("internal", 1011)
        async with httpx.AsyncClient() as http:
            assert (await http.get(live.http("/healthz"))).status_code == 503
            assert (await http.get(live.http("/readyz"))).json() == {"status": "engine stopped"}


# Coming back


@in_loop
async def test_a_cut_connection_is_resumed_without_loss() -> None:
    async with live_server(server=ServerOptions()) as live:
        async with live.connect() as first:
            await say(first, "start", **PUSH_TO_TALK)
            ready = await hear(first, "ready")
            await first.send(pcm(tone(0.1, 0.5)))
            await say(first, "commit")
            final = await hear(first, "final")
            await first.send(pcm(tone(0.2, 0.3)))
            await hear(first, "partial")
            first.transport.abort()
        await until(lambda: live.value("steno_sessions_detached") == 1)
        async with live.connect() as second:
            await say(second, "start", **PUSH_TO_TALK, resume=ready["resume"], received=final["seq"])
            again = await hear(second)
            assert again["type"] == "ready"
            assert again["session"] == ready["session"]
            assert again["audio_samples"] == 12_800
            await second.send(pcm(tone(0.2, 0.2)))
            await say(second, "stop")
            heard = await hear_out(second)
            assert heard.texts == ["w200 w200 w200 w200 w200"]
            assert heard.messages[-1]["segments"] == 2
        assert live.value("steno_sessions_resumed_total") == 1
        await live.quiet()


@in_loop
async def test_a_resume_takes_a_session_over_from_a_connection_that_hangs() -> None:
    async with live_server(server=ServerOptions()) as live, live.connect() as first:
        await say(first, "start", **PUSH_TO_TALK)
        ready = await hear(first, "ready")
        async with live.connect() as second:
            await say(second, "start", **PUSH_TO_TALK, resume=ready["resume"])
            assert (await hear(second))["session"] == ready["session"]
            assert (await hear_out(first)).code == 1000
            await second.send(pcm(tone(0.2, 0.5)))
            await say(second, "stop")
            assert (await hear_out(second)).texts == ["w200 w200 w200 w200 w200"]


@in_loop
async def test_a_wrong_token_is_refused() -> None:
    async with live_server(server=ServerOptions()) as live, live.connect() as client:
        await say(client, "start", resume="guess")
        heard = await hear_out(client)
        assert (heard.error, heard.code) == ("unknown_resume", 1008)


@in_loop
async def test_a_session_whose_client_stays_away_is_freed() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=1, max_detached=1)) as live:
        for _ in range(2):  # the second pushes the first out, time ends the second
            async with live.connect() as client:
                await say(client, "start", **PUSH_TO_TALK)
                await client.send(pcm(tone(0.1, 0.3)))
                await hear(client, "partial")
                client.transport.abort()
            await until(lambda: live.service.admission.sessions == 0)
        assert live.value("steno_sessions_detached") <= 1
        await until(lambda: live.value("steno_sessions_detached") == 0)
        await live.quiet()


@in_loop
async def test_a_proper_goodbye_is_not_kept() -> None:
    async with live_server(server=ServerOptions()) as live:
        async with live.connect() as client:
            await say(client, "start", **PUSH_TO_TALK)
            await hear(client, "ready")
        await live.quiet()
        assert live.value("steno_sessions_detached") == 0


# The other endpoints


@in_loop
async def test_health_metrics_and_pages() -> None:
    async with live_server() as live, httpx.AsyncClient() as http:
        await dictate(live, 0.1)
        await live.quiet()
        assert (await http.get(live.http("/healthz"))).json()["status"] == "ok"
        assert (await http.get(live.http("/readyz"))).json() == {"status": "ready"}
        metrics = await http.get(live.http("/metrics"))
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "steno_sessions 0.0" in metrics.text
        assert 'steno_messages_sent_total{type="Final"} 1.0' in metrics.text
        assert "steno_audio_seconds_total 0.5" in metrics.text
        assert (await http.get(live.http("/no/such/page"))).status_code == 404
        assert (await http.get(live.http("/__init__.py"))).status_code == 404
        assert (await http.get(live.http("/..%2fserver.py"))).status_code == 404


@in_loop
async def test_metrics_can_be_left_out() -> None:
    async with live_server(server=ServerOptions(metrics=False)) as live, httpx.AsyncClient() as http:
        assert (await http.get(live.http("/metrics"))).status_code == 404


@in_loop
async def test_keys_and_origins() -> None:
    options = ServerOptions(resume_ttl_s=0, api_key=("sesame", "other"), allow_origin=("https://good.example",))
    async with live_server(server=options) as live, httpx.AsyncClient() as http:
        for headers in ({}, {"Authorization": "Bearer sesam"}):
            async with live.connect(additional_headers=headers) as client:
                heard = await hear_out(client)
                assert (heard.error, heard.code) == ("unauthorized", 1008)
        for good in (
            {"additional_headers": {"Authorization": "Bearer sesame"}},
            {"additional_headers": {"api-key": "other"}},
            {"subprotocols": ["steno.v1", "steno-key.sesame"]},
            {"path": "/v1/stream?api_key=sesame"},
            {"path": "/v1/stream?api_key=sesame", "origin": "https://good.example"},
            {"path": "/v1/stream?api_key=sesame", "origin": f"http://127.0.0.1:{live.port}"},
        ):
            async with live.connect(**good) as client:
                await say(client, "start")
                assert (await hear(client))["type"] == "ready"
        with pytest.raises(InvalidStatus) as refused:
            async with live.connect(path="/v1/stream?api_key=sesame", origin="https://evil.example"):
                pass
        assert refused.value.response.status_code == 403
        assert (await http.get(live.http("/healthz"))).status_code == 200
        assert (await http.get(live.http("/metrics"))).status_code == 401
        key = {"Authorization": "Bearer sesame", "Origin": "https://good.example"}
        metrics = await http.get(live.http("/metrics"), headers=key)
        assert metrics.status_code == 200
        assert metrics.headers["access-control-allow-origin"] == "https://good.example"


@in_loop
async def test_the_sub_protocol_is_answered() -> None:
    async with live_server() as live:
        async with live.connect(subprotocols=["steno.v1"]) as client:
            assert client.subprotocol == "steno.v1"
        async with live.connect() as client:
            assert client.subprotocol is None


@in_loop
async def test_a_full_server_says_so() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=0, max_sessions=2)) as live:
        async with live.connect() as one, live.connect():
            await say(one, "start")
            await hear(one)
            await until(lambda: live.service.admission.sessions == 2)
            async with live.connect() as third:
                heard = await hear_out(third)
                assert (heard.error, heard.code) == ("full", 1013)
        await live.quiet()
        assert (await dictate(live, 0.1)).code == 1000


@in_loop
async def test_a_session_more_than_the_model_has_slots_is_told_so() -> None:
    async with live_server(slots=1) as live:
        async with live.connect() as one:
            await say(one, "start", **PUSH_TO_TALK)
            await hear(one)
            async with live.connect() as second:
                await say(second, "start")
                heard = await hear_out(second)
                assert (heard.error, heard.code) == ("full", 1013)
                assert "all 1 slots" in heard.of("error")[0]["message"]
        await live.quiet()
        assert (await dictate(live, 0.1)).code == 1000


@in_loop
async def test_as_many_sessions_as_the_model_has_slots() -> None:
    async with live_server(slots=70) as live, AsyncExitStack() as held:
        for _ in range(65):
            client = await held.enter_async_context(live.connect())
            await say(client, "start", **PUSH_TO_TALK)
            await hear(client, "ready")
        assert live.service.admission.sessions == 65


@in_loop
async def test_a_session_that_holds_the_last_slot_may_come_back() -> None:
    async with live_server(server=ServerOptions(resume_ttl_s=30), slots=1) as live:
        async with live.connect() as first:
            await say(first, "start", **PUSH_TO_TALK)
            ready = await hear(first)
            first.transport.abort()
        async with live.connect() as second:
            await say(second, "start", **PUSH_TO_TALK, resume=ready["resume"])
            await say(second, "stop")
            assert (await hear_out(second)).code == 1000


@in_loop
async def test_a_full_engine_says_so() -> None:
    gate = Gate()
    async with live_server(before_step=gate, engine=EngineOptions(warm_up=False, max_inbox=16)) as live:
        async with live.connect() as client:
            await say(client, "start", **PUSH_TO_TALK)
            await client.send(pcm(tone(0.1, 0.2)))
            await until(gate.inside.is_set)
            for _ in range(40):
                await client.send(pcm(tone(0.1, 0.02)))
            heard = await hear_out(client)
            assert (heard.error, heard.code) == ("backlog_full", 1013)
        gate.open()
        await live.quiet()


@in_loop
async def test_options_of_the_session_reach_it() -> None:
    async with live_server(session=SessionOptions(interval_ms=700)) as live, live.connect() as client:
        await say(client, "start", language="de")
        assert (await hear(client))["interval_ms"] == 700
