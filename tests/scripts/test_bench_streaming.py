"""The streaming bench counts what each way computes; its text is the script's, whatever the weights say."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench_streaming import by_length, by_session, measure
from scripts.scripted_speech import REVISED, TOKENS_PER_SECOND, script_for, update_times
from steno.models.recognizer import Recognizer
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return Recognizer.load(tiny_checkpoint(tmp_path_factory.mktemp("checkpoint")), window_s=2)


def test_partials_and_finals_say_the_script(recognizer: Recognizer) -> None:
    script = script_for(recognizer)
    stream = recognizer.open()
    measure(recognizer, script, stream, 3.0, final=False)
    partial = list(stream.tokens)
    measure(recognizer, script, stream, 5.0, final=True)
    recognizer.close(stream)
    said = script.said(5.0)
    assert stream.tokens == said
    assert len(said) == 5 * TOKENS_PER_SECOND
    assert partial[:-REVISED] == said[: len(partial) - REVISED]
    assert all(a != b for a, b in zip(partial[-REVISED:], said[len(partial) - REVISED :], strict=False))


def test_the_official_policy_computes_everything_again(recognizer: Recognizer) -> None:
    found = by_length(recognizer, update_times(8.0, 2.0), 1)
    ours, official = found["draft"], found["official"]
    assert [each.encoder_tokens for each in official] == [27, 53, 79, 104]
    assert ours[-1].encoder_tokens == 26  # one window of 2 s
    assert ours[-1].decoder_tokens < official[-1].decoder_tokens
    assert recognizer.open_streams == 0


def test_a_session_costs_the_same_all_along(recognizer: Recognizer) -> None:
    rows = by_session(recognizer, [2.0, 4.0], 12.0)
    assert [row["from_s"] for row in rows] == [0, 4, 8]
    assert len({row["decoder_tokens"] for row in rows}) == 1
    assert len({row["cache_mb"] for row in rows}) == 1


def test_a_script_is_the_same_in_every_layout(tmp_path: Path) -> None:
    recognizer = Recognizer.load(tiny_checkpoint(tmp_path / "native", layout="native"))
    first, second = script_for(recognizer), script_for(recognizer)
    assert first.said(9.0) == second.said(9.0)
    assert len(set(first.said(9.0))) == 36
