"""Audio files that strangers send: any container that PyAV reads, as float32 mono blocks at 16 kHz.

Knows containers and codecs. Refuses to know HTTP and sessions. The file is not trusted: playlists and everything else
that makes the demuxer open further files or addresses are off, and the caller sets the longest duration.
"""

import logging
from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np

from .work import SAMPLE_RATE, Samples

FORMATS = (
    "aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "eac3", "flac", "flv", "matroska", "mov", "mp3",
    "mpeg", "mpegts", "ogg", "tta", "voc", "w64", "wav", "wv",
)  # fmt: skip
"""FFmpeg's demuxers that read one self-contained file."""

_OPTIONS = {
    "format_whitelist": ",".join((*FORMATS, "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2")),
    "protocol_whitelist": "",
    "enable_drefs": "0",  # mov files may name other files
}

logger = logging.getLogger(__name__)


class UnreadableAudio(ValueError):
    """The file has no audio that can be decoded."""


class AudioTooLong(ValueError):
    """The file goes on after the longest duration allowed."""


def read_blocks(source: BinaryIO, *, block_samples: int, max_samples: int) -> Iterator[Samples]:
    """Decode lazily; every block but the last has `block_samples` samples. Channels are averaged.

    Raises UnreadableAudio, or AudioTooLong once more than `max_samples` were decoded.
    """
    pending: list[Samples] = []
    held = decoded = 0
    for piece in _decoded(source):
        decoded += len(piece)
        if decoded > max_samples:
            raise AudioTooLong(f"more than {max_samples / SAMPLE_RATE:g} s of audio")
        pending.append(piece)
        held += len(piece)
        while held >= block_samples:
            joined = np.concatenate(pending)
            yield joined[:block_samples]
            pending, held = [joined[block_samples:]], held - block_samples
    if not decoded:
        raise UnreadableAudio("there are no samples in the file")
    if held:
        yield np.concatenate(pending)


def _decoded(source: BinaryIO) -> Iterator[Samples]:
    damaged = 0
    try:
        with av.open(source, "r", options=_OPTIONS) as container:
            if not container.streams.audio:
                raise UnreadableAudio("there is no audio in the file")
            mono = _MonoResampler()
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    damaged += 1
                    continue
                for frame in frames:
                    yield from mono.convert(frame)
            yield from mono.flush()
    except (av.FFmpegError, OSError, EOFError) as error:
        raise UnreadableAudio(error.strerror or str(error) if isinstance(error, OSError) else str(error)) from error
    if damaged:
        logger.info("%d damaged packets of an uploaded file were skipped", damaged)


class _MonoResampler:
    """Frames of any format to mono pieces at 16 kHz; a change of format within the file starts a new resampler."""

    def __init__(self) -> None:
        self._format: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def convert(self, frame: av.AudioFrame) -> Iterator[Samples]:
        format_ = (frame.format.name, frame.layout.name, frame.sample_rate)
        if format_ != self._format:
            yield from self.flush()
            self._format = format_
            self._resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=SAMPLE_RATE)
        yield from self._resample(frame)

    def flush(self) -> Iterator[Samples]:
        """What the resampler still holds; the next frame begins a new one."""
        if self._resampler is not None:
            yield from self._resample(None)
        self._format = self._resampler = None

    def _resample(self, frame: av.AudioFrame | None) -> Iterator[Samples]:
        assert self._resampler is not None
        for resampled in self._resampler.resample(frame):
            channels = resampled.to_ndarray()  # [channels, samples]
            if channels.shape[1]:
                mono = np.nan_to_num(channels.mean(axis=0, dtype=np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
                yield np.clip(mono, -1, 1)
