"""The promises of streaming recognition, on small random networks and real speech."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import numpy as np
import pytest
import torch

from steno.models.config import AttentionMode
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.recognizer import MAX_TOKENS_BASE, Hypothesis, Recognizer, StreamOptions, StreamState
from tests.audio_clips import recording
from tests.tiny import tiny_checkpoint

MODES: tuple[AttentionMode, ...] = ("window", "rolling")
SPEECH = recording("lj_printing")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def random_recognizer(checkpoint: Path, mode: AttentionMode, seed: int, window_s: int = 2) -> Recognizer:
    """Random weights strong enough that the text depends on the audio, with an end token that comes now and then."""
    recognizer = Recognizer.load(checkpoint, attention=mode, window_s=window_s)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in recognizer.network.parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.2 / fan_in**0.5)
        for token in recognizer.prompt.end_ids:
            recognizer.network.get_parameter("lm_head.weight")[token] *= 2.5
    return recognizer


Change = Literal["plain", "late and loud", "digital silence", "clipped", "offset"]


def _utterance(generator: np.random.Generator, longest_s: float) -> Samples:
    """A cut of real speech, changed in one of the ways that upset incremental features."""
    length = int(generator.uniform(0.2, longest_s) * SAMPLE_RATE)
    start = int(generator.integers(0, SPEECH.size - length))
    samples = SPEECH[start : start + length].copy()
    change: Change = generator.choice(["plain", "late and loud", "digital silence", "clipped", "offset"])
    middle = length // 2
    if change == "late and loud":
        samples[:middle] *= 10 ** generator.uniform(-4, -2)
    elif change == "digital silence":
        samples[middle : middle + length // 4] = 0
    elif change == "clipped":
        samples = np.clip(samples * 20, -1, 1)
    elif change == "offset":
        samples = samples + np.float32(0.2)
    return samples.astype(np.float32)


def _stream(recognizer: Recognizer, samples: Samples, generator: np.random.Generator) -> tuple[Hypothesis, StreamState]:
    """Feed in random cuts with steps in between; the final hypothesis and the closed stream."""
    stream = recognizer.open()
    position = 0
    while position < samples.size:
        step = int(generator.choice([160, 1111, 4000, 16000, 40000]))
        recognizer.feed(stream, samples[position : position + step])
        position += step
        if generator.random() < 0.5:
            recognizer.step([stream])
    recognizer.feed(stream, samples[:0], final=True)
    (final,) = recognizer.step([stream])
    recognizer.close(stream)
    return final, stream


def _check_final_equals_offline(checkpoint: Path, mode: AttentionMode, seed: int, longest_s: float) -> None:
    generator = np.random.default_rng(seed)
    recognizer = random_recognizer(checkpoint, mode, seed, window_s=int(generator.integers(1, 9)))
    samples = _utterance(generator, longest_s)
    offline = recognizer.transcribe(samples)
    final, _ = _stream(recognizer, samples, generator)
    assert final.token_ids == offline.token_ids
    assert (final.text, final.language, final.truncated) == (offline.text, offline.language, offline.truncated)
    np.testing.assert_allclose(final.logprobs, offline.logprobs, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(20))
def test_final_equals_offline_for_random_cuts(checkpoint: Path, mode: AttentionMode, seed: int) -> None:
    _check_final_equals_offline(checkpoint, mode, seed, longest_s=15)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(100, 300))
def test_final_equals_offline_for_200_random_cuts(checkpoint: Path, mode: AttentionMode, seed: int) -> None:
    _check_final_equals_offline(checkpoint, mode, seed, longest_s=40)


@pytest.mark.parametrize("mode", MODES)
def test_offline_through_the_stream_equals_the_plain_forward(checkpoint: Path, mode: AttentionMode) -> None:
    """`encode` runs the audio tower over the whole clip at once, without any of the incremental code."""
    recognizer = random_recognizer(checkpoint, mode, 5)
    samples = SPEECH[: int(20.4562 * SAMPLE_RATE)]
    stream = recognizer.open()
    for cut in np.array_split(samples, 17):
        recognizer.feed(stream, cut)
        recognizer.step([stream])
    recognizer.feed(stream, samples[:0], final=True)
    recognizer.step([stream])
    pieces = [*stream.audio.closed, *([] if stream.audio.open is None else [stream.audio.open])]
    torch.testing.assert_close(torch.cat(pieces), recognizer.encode(samples), atol=1e-5, rtol=1e-5)
    recognizer.close(stream)


@pytest.mark.parametrize("mode", MODES)
def test_each_closed_window_is_encoded_once(checkpoint: Path, mode: AttentionMode) -> None:
    """A loud click in the first chunk fixes the floor, so that no window becomes dirty."""
    recognizer = random_recognizer(checkpoint, mode, 1)
    samples = SPEECH[: 30 * SAMPLE_RATE] * np.float32(0.5)
    samples[1600:1700] = 1.0
    _, stream = _stream(recognizer, samples, np.random.default_rng(0))
    counters = stream.encoder_counters
    config = recognizer.encoder_config
    assert counters.dirty_windows == 0
    assert counters.chunks == 30
    span = config.window_frames if mode == "window" else config.chunk_frames * config.block_chunks
    assert counters.closed_windows == 3000 // span
    assert counters.closed_tokens == config.tokens(3000)
    if mode == "rolling":
        assert (counters.open_tokens, counters.open_chunks) == (0, 0)


@pytest.mark.parametrize("mode", MODES)
def test_windows_that_a_late_loud_sound_touched_are_redone_and_counted(checkpoint: Path, mode: AttentionMode) -> None:
    recognizer = random_recognizer(checkpoint, mode, 1)
    samples = SPEECH[: 10 * SAMPLE_RATE].copy()
    samples[: 6 * SAMPLE_RATE] *= 1e-3
    _, stream = _stream(recognizer, samples, np.random.default_rng(0))
    assert stream.encoder_counters.dirty_windows >= 3


@pytest.mark.parametrize("mode", MODES)
def test_a_floor_that_rises_early_leaves_nothing_to_redo_at_the_end(checkpoint: Path, mode: AttentionMode) -> None:
    recognizer = random_recognizer(checkpoint, mode, 1)
    samples = SPEECH[: 20 * SAMPLE_RATE] * np.float32(0.5)
    samples[: 2 * SAMPLE_RATE] *= 1e-3
    samples[int(3.2 * SAMPLE_RATE)] = 1.0
    stream = recognizer.open()
    for cut in np.split(samples, 20):
        recognizer.feed(stream, cut)
        recognizer.step([stream])
        if stream.samples_fed == 4 * SAMPLE_RATE:
            redone = stream.encoder_counters.dirty_windows
    assert redone == stream.encoder_counters.dirty_windows > 0
    prefilled = stream.counters.prefilled
    recognizer.feed(stream, samples[:0], final=True)
    recognizer.step([stream])
    assert stream.encoder_counters.dirty_windows == redone
    anew = recognizer.encoder_config.window_tokens + len(stream.suffix)
    assert stream.counters.prefilled - prefilled <= 2 * anew  # twice where the draft led into a loop


@pytest.mark.parametrize("mode", MODES)
def test_an_update_late_in_an_utterance_computes_no_more_than_its_open_end_and_its_text(
    checkpoint: Path, mode: AttentionMode
) -> None:
    recognizer = random_recognizer(checkpoint, mode, 3, window_s=8)
    samples = SPEECH.copy()
    samples[1600:1700] = 1.0
    stream = recognizer.open()
    config = recognizer.encoder_config
    before = (0, 0, 0)
    for second in range(30):
        text = len(stream.tokens)
        recognizer.feed(stream, samples[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE])
        recognizer.step([stream])
        decoder, encoder = stream.counters, stream.encoder_counters
        now = (decoder.prefilled, decoder.offered, encoder.closed_tokens + encoder.open_tokens)
        prefilled, offered, encoded = (new - old for new, old in zip(now, before, strict=True))
        before = now
        if second == 0:
            continue  # the first update brings the prompt's head too
        reach = config.window_tokens if mode == "window" else config.block_tokens
        assert prefilled <= 2 * reach + len(stream.suffix)  # at a border: the window that closed
        assert offered <= 3 * max(text, len(stream.tokens)) + 64
        assert encoded <= 2 * reach
    recognizer.close(stream)


@pytest.mark.parametrize("mode", MODES)
def test_streams_in_one_batch_give_what_each_gives_alone(checkpoint: Path, mode: AttentionMode) -> None:
    """Token ids are equal; log-probabilities within 1e-3, since a larger matrix product may sum in another order."""
    recognizer = random_recognizer(checkpoint, mode, 7)
    generator = np.random.default_rng(7)
    clips = [_utterance(generator, 8) for _ in range(16)]
    alone = [recognizer.transcribe(clip) for clip in clips]
    streams = [recognizer.open() for _ in clips]
    gone = 5
    for start in range(0, 8 * SAMPLE_RATE + 1, 9000):
        for stream, clip in zip(streams, clips, strict=True):
            if not stream.ended:
                recognizer.feed(stream, clip[start : start + 9000], final=start + 9000 >= clip.size)
        if start == 27_000:
            recognizer.close(streams[gone])
        present = [s for i, s in enumerate(streams) if not s.finished and (i != gone or start < 27_000)]
        recognizer.step(present)
    for index, (stream, offline) in enumerate(zip(streams, alone, strict=True)):
        if index != gone or stream.finished:
            assert tuple(stream.tokens) == offline.token_ids
            np.testing.assert_allclose(stream.logprobs, offline.logprobs, atol=1e-3)
        recognizer.close(stream)
    assert recognizer.open_streams == 0


@pytest.mark.parametrize("mode", MODES)
def test_the_draft_check_changes_no_hypothesis(checkpoint: Path, mode: AttentionMode) -> None:
    accepted = 0
    for seed in range(4):
        with_draft, without = (random_recognizer(checkpoint, mode, seed) for _ in range(2))
        without._draft = False
        pairs = [(recognizer, recognizer.open()) for recognizer in (with_draft, without)]
        for start in range(0, 6 * SAMPLE_RATE, 8000):
            hypotheses = []
            for recognizer, stream in pairs:
                recognizer.feed(stream, SPEECH[start : start + 8000])
                hypotheses.append(recognizer.step([stream])[0].token_ids)
            assert hypotheses[0] == hypotheses[1]
        accepted += pairs[0][1].counters.accepted
        assert pairs[1][1].counters.offered == 0
    assert accepted > 0


def test_a_hypothesis_that_stays_is_confirmed_in_one_pass(checkpoint: Path) -> None:
    recognizer = next(_talkative(checkpoint))
    stream = recognizer.open()
    recognizer.feed(stream, SPEECH[: 2 * SAMPLE_RATE])
    (first,) = recognizer.step([stream])
    passes, decoded = stream.counters.passes, stream.counters.decoded
    (second,) = recognizer.step([stream])
    assert second.token_ids == first.token_ids
    assert (stream.counters.passes, stream.counters.decoded) == (passes + 1, decoded)


def test_a_session_of_many_utterances_holds_no_more_than_one(checkpoint: Path) -> None:
    """An hour in utterances of 12 s, a part of them run: slots and buffers at the end are those after the first."""
    recognizer = random_recognizer(checkpoint, "window", 2)
    samples = SPEECH[: 12 * SAMPLE_RATE]
    work = []
    for _ in range(12):
        _, stream = _stream(recognizer, samples, np.random.default_rng(4))
        decoder, encoder = stream.counters, stream.encoder_counters
        held = (recognizer.open_streams, recognizer.cache_bytes)
        work.append((held, decoder.prefilled, decoder.offered, encoder.closed_tokens + encoder.open_tokens))
    assert work == [work[0]] * len(work)


def test_a_step_that_failed_can_be_run_again(checkpoint: Path) -> None:
    recognizer = random_recognizer(checkpoint, "window", 9)
    samples = SPEECH[: 7 * SAMPLE_RATE].copy()
    samples[: 3 * SAMPLE_RATE] *= 1e-3
    offline = recognizer.transcribe(samples)
    stream = recognizer.open()
    recognizer.feed(stream, samples[: 5 * SAMPLE_RATE])
    recognizer.step([stream])
    recognizer.feed(stream, samples[5 * SAMPLE_RATE :], final=True)
    with (
        patch.object(recognizer.network, "logits", side_effect=RuntimeError("out of memory")),
        pytest.raises(RuntimeError),
    ):
        recognizer.step([stream])
    assert recognizer.step([stream])[0].token_ids == offline.token_ids


def test_pinned_tokens_begin_every_later_hypothesis(checkpoint: Path) -> None:
    recognizer = next(_talkative(checkpoint))
    stream = recognizer.open()
    recognizer.feed(stream, SPEECH[: 2 * SAMPLE_RATE])
    first = recognizer.step([stream])[0].token_ids
    recognizer.pin(stream, 3)
    for second in range(2, 9):
        recognizer.feed(stream, SPEECH[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE])
        assert recognizer.step([stream])[0].token_ids[:3] == first[:3]
    with pytest.raises(ValueError, match="cannot pin 2 tokens"):
        recognizer.pin(stream, 2)


def _talkative(checkpoint: Path) -> Iterator[Recognizer]:
    """Recognizers whose first hypothesis on two seconds of speech has three tokens and more."""
    for seed in range(50):
        recognizer = random_recognizer(checkpoint, "window", seed)
        result = recognizer.transcribe(SPEECH[: 2 * SAMPLE_RATE])
        if len(result.token_ids) > 3 and not result.truncated:
            yield recognizer


def test_languages_restrict_how_the_answer_begins(checkpoint: Path) -> None:
    for seed in range(8):
        recognizer = random_recognizer(checkpoint, "window", seed)
        allowed = recognizer.prompt.language_prefixes(["German", "French"])
        stream = recognizer.open(StreamOptions(languages=("de", "French")))
        recognizer.feed(stream, SPEECH[: 3 * SAMPLE_RATE])
        for _ in range(2):  # decoded once, then offered as a draft
            hypothesis = recognizer.step([stream])[0]
            assert any(list(hypothesis.token_ids[: len(prefix)]) == prefix for prefix in allowed)
            assert hypothesis.language in ("German", "French", None)
            recognizer.feed(stream, SPEECH[3 * SAMPLE_RATE : 4 * SAMPLE_RATE])
        recognizer.close(stream)


@pytest.mark.parametrize(("mode", "seen_ms"), [("window", [600, 1200, 1800, 2400]), ("rolling", [0, 1200, 1200, 2400])])
def test_samples_seen_are_those_that_the_text_is_told_from(
    checkpoint: Path, mode: AttentionMode, seen_ms: list[int]
) -> None:
    recognizer = random_recognizer(checkpoint, mode, 3)
    stream = recognizer.open()
    seen = []
    for at in range(0, 4 * 9600, 9600):
        recognizer.feed(stream, SPEECH[at : at + 9600])
        seen += [hypothesis.samples_seen * 1000 // SAMPLE_RATE for hypothesis in recognizer.step([stream])]
    assert seen == seen_ms
    recognizer.feed(stream, SPEECH[:800], final=True)
    assert recognizer.step([stream])[0].samples_seen == 4 * 9600 + 800


def test_before_half_a_second_there_is_no_hypothesis_and_no_work(checkpoint: Path) -> None:
    recognizer = random_recognizer(checkpoint, "window", 0)
    stream = recognizer.open()
    recognizer.feed(stream, SPEECH[:7999])
    (hypothesis,) = recognizer.step([stream])
    assert (hypothesis.token_ids, hypothesis.text, hypothesis.final) == ((), "", False)
    assert stream.counters.passes == 0


def test_an_utterance_without_samples_still_gets_its_final(checkpoint: Path) -> None:
    recognizer = random_recognizer(checkpoint, "rolling", 0)
    stream = recognizer.open()
    recognizer.feed(stream, np.zeros(0, np.float32), final=True)
    (hypothesis,) = recognizer.step([stream])
    assert hypothesis.final


def test_the_token_limit_follows_the_audio_and_is_reported(checkpoint: Path) -> None:
    recognizer = random_recognizer(checkpoint, "window", 0)
    limited = recognizer.transcribe(SPEECH[: 4 * SAMPLE_RATE], max_new_tokens=1)
    assert limited.truncated == (len(limited.token_ids) == 1)
    with torch.no_grad():  # a network that never ends, and never repeats itself either
        for token in recognizer.prompt.end_ids:
            recognizer.network.get_parameter("lm_head.weight")[token] = 0
    with patch("steno.models.decoding.find_loop", return_value=None):
        endless = recognizer.transcribe(SPEECH[: 4 * SAMPLE_RATE])
    assert endless.truncated
    assert len(endless.token_ids) == MAX_TOKENS_BASE + 4 * 16


def test_recordings_longer_than_the_model_are_cut_not_truncated(checkpoint: Path) -> None:
    recognizer = random_recognizer(checkpoint, "window", 4)
    pieces: list[int] = []
    feed = recognizer.feed

    def spy(stream: StreamState, samples: Samples, *, final: bool = False) -> None:
        pieces.append(samples.size)
        feed(stream, samples, final=final)

    room = recognizer.network.config.decoder.max_positions
    samples = np.tile(SPEECH, 4)
    assert samples.size / SAMPLE_RATE * (13 + 16) > room
    with patch.object(recognizer, "feed", spy):
        result = recognizer.transcribe(samples)
    assert sum(pieces) == samples.size
    assert len(pieces) > 1
    assert result.duration_s == samples.size / SAMPLE_RATE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (StreamOptions(language="Klingon"), "Klingon"),
        (StreamOptions(languages=("English", "Elvish")), "Elvish"),
        (StreamOptions(context="word " * 9000), "context of"),
    ],
)
def test_bad_options_are_refused_by_name(checkpoint: Path, options: StreamOptions, message: str) -> None:
    recognizer = random_recognizer(checkpoint, "window", 0)
    with pytest.raises(ValueError, match=message):
        recognizer.open(options)
    assert recognizer.open_streams == 0


def test_misuse_of_a_stream_is_refused(checkpoint: Path) -> None:
    recognizer = random_recognizer(checkpoint, "window", 0)
    stream = recognizer.open()
    with pytest.raises(ValueError, match="twice"):
        recognizer.step([stream, stream])
    recognizer.feed(stream, SPEECH[:16000], final=True)
    with pytest.raises(ValueError, match="after its end"):
        recognizer.feed(stream, SPEECH[:10])
    recognizer.step([stream])
    with pytest.raises(ValueError, match="has given its final"):
        recognizer.step([stream])
    recognizer.close(stream)
    recognizer.close(stream)
    with pytest.raises(ValueError, match="not open"):
        recognizer.step([stream])
    with pytest.raises(ValueError, match="expected a whole number of seconds, 1 to 8"):
        Recognizer.load(checkpoint, window_s=9)
