"""The three commands, on a handful of clips made here: prepare, a few steps of training, evaluate."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.train_tiny import evaluate, prepare, train
from scripts.train_tiny.pack import Pack
from steno.models.recognizer import Recognizer

WORDS = "zero one two three".split()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "Words" as tones, of two people, in the folder form of the recordings; and a folder of noise."""
    folder = tmp_path_factory.mktemp("speech")
    (folder / "fsdd").mkdir()
    rows = []
    t = np.arange(8_000) / 16_000
    for speaker in ("theo", "jackson"):
        for number in range(16):
            word = number % len(WORDS)
            path = f"fsdd/{speaker}-{number}.wav"
            tone = 0.3 * np.sin(2 * np.pi * (300 + 250 * word + (speaker == "theo")) * t)
            soundfile.write(folder / path, tone.astype(np.float32), 16_000)
            rows.append(
                {
                    "path": path,
                    "text": WORDS[word],
                    "language": "en",
                    "speaker": f"fsdd:{speaker}",
                    "licence": "none",
                    "dur": 0.5,
                }
            )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    noise = folder / "streams"
    noise.mkdir()
    soundfile.write(noise / "hiss.wav", 0.01 * np.random.default_rng(1).standard_normal(16_000), 16_000)
    line = {"path": "streams/hiss.wav", "language": None, "text": ""}
    (folder / "streams.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_from_recordings_to_a_measured_checkpoint(speech: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    common = ["--out", str(data), "--synthetic", "0", "--vocabulary", "300"]
    prepare.main(["--speech", str(speech), *common])
    pack = Pack(data / "pack")
    assert {c.speaker for c in pack.select(["test"])} == {"fsdd:theo"}
    assert {c.speaker for c in pack.select(["train", "dev"])} == {"fsdd:jackson"}
    joined = next(c for c in pack.select(["test"]) if c.source == "fsdd-strings")
    assert len(joined.text.split()) >= 3
    assert joined.samples > 3 * 8_000

    options = ["--data", str(data), "--run", str(run), "--workers", "0", "--log-steps", "1", "--dev-clips", "1"]
    train.main([*options, "--steps", "2"])
    train.main([*options, "--steps", "3"])  # goes on from the saved state
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "ctc" in line] == [1, 2, 3]
    assert all(np.isfinite(line["ctc"]) and np.isfinite(line["answer"]) for line in log if "ctc" in line)

    recognizer = Recognizer.load(run / "checkpoint", progress=False)
    assert recognizer.encoder_config.attention_mode == "rolling"

    out = tmp_path / "eval.json"
    measured = ["--data", str(data), "--model", str(run / "checkpoint"), "--noise", str(speech / "streams")]
    evaluate.main([*measured, "--streaming", "--windows", "1", "--per-group", "2", "--out", str(out)])
    result = json.loads(out.read_text())
    assert result["offline"]["digit strings (fsdd)"]["clips"] == 2
    assert set(result) >= {"streaming", "window_1s", "false_words_per_minute", "streaming_rtf"}
    assert "hiss" in result["false_words_per_minute"]
