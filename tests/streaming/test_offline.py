"""Offline transcription of many files: a line each, whatever happens to the others."""

import json
import wave
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from steno.models.recognizer import Transcription
from steno.streaming.decoded_audio import Samples
from steno.streaming.offline import transcribe_files


@dataclass
class FakeRecognizer:
    """Says how many samples it heard."""

    truncated: bool = False
    asked: list[tuple[str | None, str]] = field(default_factory=list)

    def transcribe(self, samples: Samples, *, language: str | None = None, context: str = "") -> Transcription:
        self.asked.append((language, context))
        return Transcription(
            text=f"{len(samples)} Wörter",
            language="German",
            token_ids=(),
            logprobs=(),
            truncated=self.truncated,
            duration_s=len(samples) / 16_000,
        )


def recording(path: Path, samples: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * samples))
    return path


def test_one_file_is_its_text_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recognizer = FakeRecognizer()
    file = recording(tmp_path / "a.wav", 160)
    assert transcribe_files(recognizer, [file], language="de", context="Ada", as_json=False) == 0
    assert capsys.readouterr() == ("160 Wörter\n", "")
    assert recognizer.asked == [("de", "Ada")]


def test_a_bad_file_is_told_and_the_others_are_still_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"nothing")
    files = [recording(tmp_path / "a.wav", 160), bad, tmp_path / "gone.wav", recording(tmp_path / "b.wav", 320)]
    assert transcribe_files(FakeRecognizer(), files, language=None, context="", as_json=False) == 2
    output, errors = capsys.readouterr()
    assert output == f"{files[0]}: 160 Wörter\n{files[3]}: 320 Wörter\n"
    assert [line.split(": ")[1] for line in errors.splitlines()] == [str(bad), str(files[2])]


def test_json_is_a_line_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = recording(tmp_path / "a.wav", 1600)
    transcribe_files(FakeRecognizer(), [file, file], language=None, context="", as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == 2 * [
        {"file": str(file), "text": "1600 Wörter", "language": "German", "duration_s": 0.1, "truncated": False}
    ]


def test_text_that_was_cut_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = recording(tmp_path / "a.wav", 160)
    transcribe_files(FakeRecognizer(truncated=True), [file], language=None, context="", as_json=False)
    assert "not complete" in capsys.readouterr().err
