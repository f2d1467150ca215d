"""The accelerator's bench runs from end to end on a CPU, with a small model; its script is said as it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scripts.bench_gpu import main
from scripts.gpu_live import Capacity, Probe, capacity
from scripts.gpu_model import Maker, distinct_clips, text_tokens
from scripts.gpu_parts import Budget, Report, Row


def test_every_part_has_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--device", "cpu", "--dtype", "float32", "--tiny", "--json", str(tmp_path / "gpu.json")])
    found = json.loads((tmp_path / "gpu.json").read_text())
    parts = found["parts"]
    assert found["device"] == "cpu"
    assert found["torch"] == torch.__version__
    assert not [name for name, rows in parts.items() if any("failed" in row for row in rows)]
    compared = [row for row in parts["checks"] if "equal" in row]
    assert [row["equal"] for row in compared] == [True] * 3
    assert all(row["tokens"] > 0 for row in compared)
    for each in parts["offline 0.6b"]:
        assert each["tokens"] == each["concurrency"] * text_tokens(each["clip_s"])
        assert each["audio_per_s"] > 0
    assert {each["concurrency"] for each in parts["offline 0.6b"]} == {1, 4}
    timings = [row for row in parts["micro 0.6b"] if "ms" in row]
    assert {each["what"].split(",")[0] for each in timings} == {"decode step", "prefill", "encoder"}
    assert all(each["ms"] > 0 and each["share"] > 0 for each in timings)
    (live,) = parts["live 0.6b"]
    assert live["probes"]
    assert live["streams"] == max((each["streams"] for each in live["probes"] if each["holds"]), default=0)
    assert "live 0.6b" in capsys.readouterr().out


def test_scripted_weights_count_upwards() -> None:
    recognizer = Maker("cpu", "float32", tiny=True).recognizer("0.6b", "scripted")
    said = recognizer.transcribe(distinct_clips(2, 3.0), max_new_tokens=text_tokens(3.0))
    for each in said:
        first = each.token_ids[0]
        assert list(each.token_ids) == list(range(first, first + 12))


def test_the_search_finds_the_largest_count_that_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = Maker("cpu", "float32", tiny=True).recognizer("0.6b", "scripted")
    assert recognizer.slots == 24

    def found(most: int, guess: int) -> Capacity:
        def fake(recognizer: object, streams: int, interval_s: float, *, tiny: bool) -> Probe:
            return Probe(streams, 1.0, 2.0, 0.5, streams <= most)

        monkeypatch.setattr("scripts.gpu_live.probe", fake)
        return capacity(recognizer, 0.5, guess, Budget(60.0))

    for most in (0, 1, 2, 7, 23):
        for guess in (1, 3, 24, 500):
            result = found(most, guess)
            assert (result.streams, result.bounded_by) == (most, "latency")
            assert len(result.probes) < 10
    assert found(99, 2).bounded_by == "slots"
    assert found(99, 2).streams == 24


def test_a_part_that_fails_leaves_the_others_and_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(budget: Budget) -> Iterator[Row]:
        yield {"found": 7}
        raise RuntimeError("out of memory")

    report = Report(tmp_path / "deep" / "found.json", {"device": "none"}, Budget(60.0))
    report.part("first", 5.0, lambda budget: iter([{"seconds": budget.seconds}]))
    report.part("second", 5.0, fails)
    report.part("third", 5.0, lambda budget: iter([{"found": 8}]))
    report.whole = Budget(0.0)
    report.part("fourth", 5.0, lambda budget: iter([{"found": 9}]))
    parts = json.loads((tmp_path / "deep" / "found.json").read_text())["parts"]
    assert parts == {
        "first": [{"seconds": 5.0}],
        "second": [{"found": 7}, {"failed": "RuntimeError: out of memory"}],
        "third": [{"found": 8}],
        "fourth": [{"skipped": "no time was left"}],
    }


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit, match="bench_gpu: device is 'cuda', but torch sees 0 CUDA devices"):
        main([])
