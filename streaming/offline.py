"""`steno transcribe`: whole files to text in this process, without a server.

Knows files, progress and output lines. Refuses to know models beyond `Recognizer.transcribe`.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import track

from steno.client.audio import AudioFileError, read_audio
from steno.models.device import choose_device, parse_bytes
from steno.models.recognizer import Recognizer, Transcription
from steno.streaming.decoded_audio import Samples


class OfflineRecognizer(Protocol):
    """The part of `Recognizer` that is used here."""

    def transcribe(self, samples: Samples, *, language: str | None = None, context: str = "") -> Transcription: ...


def load_recognizer(
    model: str, *, device: str, dtype: str, window_s: int | None, memory: str | None = None
) -> Recognizer:
    """Raises ValueError for a device, a number type or a model that is not there, and for a memory that is no size."""
    cap = None if memory is None else parse_bytes(memory)
    return Recognizer.load(model, device=choose_device(device), dtype=dtype, window_s=window_s, memory=cap)


def transcribe_files(
    recognizer: OfflineRecognizer, files: Sequence[Path], *, language: str | None, context: str, as_json: bool
) -> int:
    """Print one line for each file, in order; a file that cannot be read is told on standard error and the others are
    still done. Returns how many failed.
    """
    failed = 0
    for file in _with_progress(files):
        try:
            heard = recognizer.transcribe(read_audio(file), language=language, context=context)
        except AudioFileError as error:
            print(f"steno: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        if heard.truncated:
            print(f"steno: {file}: the text reached the model's limit and is not complete", file=sys.stderr, flush=True)
        print(_json_line(file, heard) if as_json else _text_line(file, heard, alone=len(files) == 1), flush=True)
    return failed


def _with_progress(files: Sequence[Path]) -> Iterable[Path]:
    """A bar on standard error where that is a terminal and there is more than one file."""
    if len(files) == 1 or not sys.stderr.isatty():
        return files
    return track(files, description="transcribing", console=Console(stderr=True), transient=True)


def _text_line(file: Path, heard: Transcription, *, alone: bool) -> str:
    return heard.text if alone else f"{file}: {heard.text}"


def _json_line(file: Path, heard: Transcription) -> str:
    fields = {
        "file": str(file),
        "text": heard.text,
        "language": heard.language,
        "duration_s": round(heard.duration_s, 3),
        "truncated": heard.truncated,
    }
    return json.dumps(fields, ensure_ascii=False)
