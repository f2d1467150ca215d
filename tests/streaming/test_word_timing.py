"""Words on finals: asked for, timed in stream time, and never at the cost of a final."""

import numpy as np
import pytest

from steno.streaming.metrics import Metrics
from steno.streaming.word_timing import WordTiming
from steno.streaming.work import AlignedWord
from tests.fakes import POISON, FakeAligner, tone
from tests.live import hear, hear_out, in_loop, live_server, pcm, say


def test_words_of_a_clip() -> None:
    timing = WordTiming(FakeAligner(), Metrics())
    assert timing.words(tone(0.1, 0.15), "w100 w200") == (AlignedWord("w100", 0, 1600), AlignedWord("w200", 1600, 2400))


def test_without_an_aligner_there_are_none() -> None:
    assert WordTiming(None, Metrics()).words(tone(0.1, 0.1), "w100") is None


def test_a_failure_is_counted_and_gives_none() -> None:
    metrics = Metrics()
    assert WordTiming(FakeAligner(), metrics).words(np.full(1600, POISON, np.float32), "w100") is None
    assert metrics.registry.get_sample_value("steno_alignment_failures_total") == 1


@in_loop
async def test_a_session_that_asks_gets_words_in_stream_time() -> None:
    async with live_server(aligner=FakeAligner()) as live, live.connect() as client:
        await say(client, "start", vad=False, words=True)
        for level in (0.1, 0.2):
            await client.send(pcm(tone(level, 0.2)))
            await say(client, "commit")
        await say(client, "stop")
        heard = await hear_out(client)
        words = [[tuple(word.values()) for word in final["words"]] for final in heard.of("final")]
        assert words == [[("w100", 0, 100), ("w100", 100, 200)], [("w200", 200, 300), ("w200", 300, 400)]]
        assert heard.of("notice") == []


@pytest.mark.parametrize("asked", [True, False])
@in_loop
async def test_who_cannot_have_words_is_told_and_who_did_not_ask_gets_none(asked: bool) -> None:
    async with live_server(aligner=None if asked else FakeAligner()) as live, live.connect() as client:
        await say(client, "start", vad=False, words=asked)
        await hear(client, "ready")
        await client.send(pcm(tone(0.1, 0.2)))
        await say(client, "stop")
        heard = await hear_out(client)
        assert [notice["code"] for notice in heard.of("notice")] == ["words_unavailable"] * asked
        (final,) = heard.of("final")
        assert "words" not in final
