"""Files of strangers: whatever the bytes, samples come out or `UnreadableAudio`."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno.streaming.openai_errors import OpenAIError
from steno.streaming.transcription_request import TranscriptionRequest, read_request
from steno.streaming.uploaded_audio import AudioTooLong, UnreadableAudio, read_blocks
from tests.audio_clips import AUDIO, recording

from .test_openai_http import encoded, wav

SPEECH = recording("coffee_order")
FILES = {
    "wav": wav(SPEECH[:16_000]),
    "opus": (AUDIO / "coffee_order.opus").read_bytes(),
    "mp3": encoded(SPEECH[:16_000], "libmp3lame", "mp3"),
    "mp4": encoded(SPEECH[:16_000], "aac", "mp4"),
    "webm": encoded(SPEECH[:16_000], "libopus", "webm"),
    "flac": encoded(SPEECH[:16_000], "flac", "flac"),
}


def read(content: bytes, max_samples: int = 1_000_000) -> list[int]:
    """Sizes of the blocks; the samples are checked."""
    sizes = []
    for block in read_blocks(io.BytesIO(content), block_samples=4000, max_samples=max_samples):
        assert block.dtype == np.float32
        assert block.ndim == 1
        assert np.abs(block).max(initial=0.0) <= 1.0
        sizes.append(len(block))
    return sizes


def test_blocks_are_whole_and_nothing_is_lost() -> None:
    assert read(FILES["wav"]) == [4000] * 4
    assert set(read(FILES["opus"])[:-1]) == {4000}
    assert sum(read(FILES["opus"])) == len(SPEECH)


def test_wav_samples_are_exact() -> None:
    blocks = list(read_blocks(io.BytesIO(FILES["wav"]), block_samples=16_000, max_samples=16_000))
    assert np.abs(blocks[0] - SPEECH[:16_000]).max() < 2 / 32768


def test_too_long() -> None:
    assert sum(read(FILES["wav"], max_samples=16_000)) == 16_000
    with pytest.raises(AudioTooLong):
        read(FILES["wav"], max_samples=15_999)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=30), st.data()
)
def test_damaged_files(kind: str, changes: list[tuple[float, int]], data: st.DataObject) -> None:
    content = bytearray(FILES[kind])
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    keep = data.draw(st.integers(0, len(content)))
    try:
        read(bytes(content[:keep]))
    except (UnreadableAudio, AudioTooLong):
        pass


_NAMES = ("file", "model", "language", "languages[]", "prompt", "keywords[]", "response_format", "temperature",
          "stream", "timestamp_granularities[]", "include[]", "chunking_strategy", "chunking_strategy[type]",
          "chunking_strategy[threshold]", "known_speaker_names[]")  # fmt: skip
_VALUES = ("", "json", "verbose_json", "srt", "text", "true", "0", "0.5", "nan", "word", "segment", "logprobs", "auto",
           "server_vad", '{"type":"server_vad","threshold":"x"}', "[" * 200, "\x00", "ü")  # fmt: skip
_FIELDS = st.lists(st.tuples(st.sampled_from(_NAMES) | st.text(max_size=9), st.sampled_from(_VALUES) | st.text()))


@settings(max_examples=200, deadline=None)
@given(_FIELDS)
def test_any_form_is_read_or_refused_in_words(fields: Sequence[tuple[str, str]]) -> None:
    answer: TranscriptionRequest | OpenAIError
    try:
        answer = read_request(fields)
    except OpenAIError as error:
        answer = error
    if isinstance(answer, OpenAIError):
        assert answer.message
        assert answer.status == 400
    else:
        assert 0 <= answer.temperature <= 1
