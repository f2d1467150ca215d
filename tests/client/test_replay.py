"""The log of what was said: whatever breaks, the other side ends up with every sample once, in order."""

import random

import pytest

from steno.client.replay import Frame, Replay
from steno.streaming.protocol import Clear, Commit, Gap, Stop


def replay(limit_samples: int = 1000) -> Replay:
    return Replay(frame_bytes=2, limit_samples=limit_samples)


def pcm(*values: int) -> bytes:
    """16-bit samples that can be told apart."""
    return b"".join(value.to_bytes(2, "little") for value in values)


def drain(log: Replay) -> list[Frame]:
    frames: list[Frame] = []
    while (frame := log.next()) is not None:
        frames.append(frame)
    return frames


def test_frames_go_out_in_order_and_are_counted() -> None:
    log = replay()
    said: list[Frame] = [pcm(1, 2, 3), Commit(), Gap(samples=5), pcm(4), Stop()]
    for frame in said:
        log.add(frame)
    assert (log.end_samples, log.unsent_samples) == (9, 9)
    assert drain(log) == said
    assert log.unsent_samples == 0


def test_going_back_says_again_what_the_server_has_not_got() -> None:
    log = replay()
    for frame in (pcm(1, 2, 3), pcm(4, 5, 6)):
        log.add(frame)
    drain(log)
    log.add(pcm(7))
    assert log.rewind(4) == 0
    assert drain(log) == [pcm(5, 6), pcm(7)]


def test_a_message_at_the_very_position_is_said_again_and_earlier_ones_are_not() -> None:
    log = replay()
    for frame in (Clear(), pcm(1, 2), Commit(), pcm(3), Stop()):
        log.add(frame)
    drain(log)
    log.rewind(2)
    assert drain(log) == [Commit(), pcm(3), Stop()]
    log.rewind(3)
    assert drain(log) == [Stop()]


def test_a_gap_is_cut_like_audio() -> None:
    log = replay()
    log.add(Gap(samples=10))
    drain(log)
    log.rewind(4)
    assert drain(log) == [Gap(samples=6)]


def test_forgotten_audio_becomes_a_gap_that_keeps_time_true() -> None:
    log = replay()
    for start in range(0, 10, 2):
        log.add(pcm(start, start + 1))
    drain(log)
    log.forget(before=6)
    assert log.rewind(3) == 3
    assert drain(log) == [Gap(samples=3), pcm(6, 7), pcm(8, 9)]


def test_the_limit_forgets_the_oldest_sent_audio_only() -> None:
    log = replay(limit_samples=4)
    for start in range(0, 20, 2):
        log.add(pcm(start, start + 1))
    assert log.start_samples == 0  # nothing was sent, so nothing may go
    drain(log)
    assert log.start_samples == 16
    assert log.rewind(0) == 16


def test_audio_that_is_forgotten_entirely_can_still_be_gone_back_before() -> None:
    log = replay()
    log.add(pcm(1, 2))
    drain(log)
    log.forget(before=2)
    assert log.rewind(1) == 1
    assert drain(log) == [Gap(samples=1)]


def test_nothing_is_left_to_say_once_the_other_side_has_everything() -> None:
    log = replay()
    for frame in (pcm(1, 2), pcm(3), Stop()):
        log.add(frame)
    log.next()
    log.conclude()
    assert drain(log) == []
    assert (log.cursor_samples, log.unsent_samples) == (3, 0)


def test_nothing_is_said_after_stop() -> None:
    log = replay()
    log.add(Stop())
    with pytest.raises(ValueError, match="finish"):
        log.add(pcm(1))


def test_half_a_sample_is_refused_and_no_audio_is_no_frame() -> None:
    log = replay()
    with pytest.raises(ValueError, match="3 bytes of audio, expected a multiple of 2"):
        log.add(b"abc")
    log.add(b"")
    assert drain(log) == []


@pytest.mark.parametrize("position", [-1, 3])
def test_a_position_that_was_never_sent_is_refused(position: int) -> None:
    log = replay()
    log.add(pcm(1, 2))
    drain(log)
    log.add(pcm(3))
    with pytest.raises(ValueError, match=f"position {position} was never sent"):
        log.rewind(position)


@pytest.mark.parametrize("seed", range(30))
def test_random_breaks_lose_and_double_nothing(seed: int) -> None:
    """The other side takes frames, breaks off at any sample and asks to go on from there, many times."""
    chance = random.Random(seed)
    log, heard, spoken = replay(limit_samples=10_000), b"", 0
    for _ in range(200):
        action = chance.random()
        if action < 0.5:
            count = chance.randint(1, 9)
            log.add(pcm(*range(spoken, spoken + count)))
            spoken += count
        elif action < 0.8:
            frame = log.next()
            if isinstance(frame, bytes):
                heard += frame
        else:
            kept = chance.randint(len(heard) // 4, len(heard) // 2) if heard else 0
            heard = heard[: 2 * kept]
            assert log.rewind(kept) == 0
    heard += b"".join(frame for frame in drain(log) if isinstance(frame, bytes))
    assert heard == pcm(*range(spoken))
