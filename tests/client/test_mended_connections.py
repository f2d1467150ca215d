"""The client and the real server, with a connection cut in the middle of a word: the captions are those of no cut.

The recognizer is the fake one, whose text is a function of the samples of each utterance.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from steno.client.audio import BLOCK_SAMPLES, read_audio
from steno.client.client import Client
from steno.client.events import Event, Reconnected
from steno.streaming.config import ServerOptions
from steno.streaming.decoded_audio import Samples
from steno.streaming.protocol import Final, Partial, SpeechEnd, SpeechStart
from tests.live import Live, live_server
from tests.steno_process import SAMPLES

PATIENCE_S = 120.0


def two_utterances() -> Samples:
    pause = np.zeros(16_000, np.float32)
    clip = read_audio(SAMPLES / "07-pv-intent.opus")
    return np.concatenate([pause, clip, pause, clip, pause])


@dataclass(frozen=True)
class Cut:
    """All connections are cut when this much was said and such an event was seen."""

    said_s: float
    seen: Callable[[Event], bool]


async def talk(live: Live, cut: Cut | None = None) -> list[Event]:
    """Everything that the client hears."""
    events: list[Event] = []
    was_cut = asyncio.Event()
    if cut is None:
        was_cut.set()
    async with Client(live.url(), retry_delays_s=(0.01, 0.1, 1.0)) as client:

        async def speak() -> None:
            samples = two_utterances()
            for start in range(0, len(samples), BLOCK_SAMPLES):
                if cut is not None and start >= cut.said_s * 16_000:
                    await was_cut.wait()
                await client.send(samples[start : start + BLOCK_SAMPLES])
            await client.finish()

        speaking = asyncio.create_task(speak())
        async for event in client:
            events.append(event)
            if cut is not None and not was_cut.is_set() and cut.seen(event):
                for connection in list(live.server.server_state.connections):
                    connection.transport.abort()
                was_cut.set()
        await speaking
    return events


def heard(events: list[Event]) -> list[tuple[int, str, int, int]]:
    return [(e.segment, e.text, e.start_ms, e.end_ms) for e in events if isinstance(e, Final) and e.text]


CUTS = {
    "as the first utterance begins": Cut(2.2, lambda event: isinstance(event, SpeechStart)),
    "within the first utterance": Cut(3.0, lambda event: isinstance(event, Partial)),
    "after its last sample": Cut(5.0, lambda event: isinstance(event, SpeechEnd)),
    "between the utterances": Cut(5.0, lambda event: isinstance(event, Final)),
    "within the second utterance": Cut(7.2, lambda event: isinstance(event, Partial) and event.segment == 1),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("resume_ttl_s", [60, 0])
def test_a_cut_loses_and_doubles_nothing(resume_ttl_s: int, cut: str) -> None:
    """With a session that waits for its client (60 s), and with one that is lost (0 s)."""

    async def run() -> None:
        options = ServerOptions(resume_ttl_s=resume_ttl_s)
        async with asyncio.timeout(PATIENCE_S), live_server(server=options) as live:
            expected = await talk(live)
            events = await talk(live, CUTS[cut])
        (mended,) = (event for event in events if isinstance(event, Reconnected))
        assert (mended.resumed, mended.missing_ms) == (resume_ttl_s > 0, 0)
        assert events[-1] == expected[-1] or resume_ttl_s == 0
        assert len(heard(expected)) == 2
        if mended.resumed:
            assert heard(events) == heard(expected)
            return
        # A new session hears the rest of the recording with a fresh ear: the borders of an utterance may move a bit.
        assert heard(events)[0] == heard(expected)[0]
        (_, words, start_ms, end_ms), (_, expected_words, expected_start_ms, expected_end_ms) = (
            heard(events)[1],
            heard(expected)[1],
        )
        assert len(heard(events)) == 2
        assert abs(len(words.split()) - len(expected_words.split())) <= 3
        assert abs(start_ms - expected_start_ms) <= 300
        assert abs(end_ms - expected_end_ms) <= 300

    asyncio.run(run())
