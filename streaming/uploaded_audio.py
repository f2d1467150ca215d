"""Audio files that strangers send: any container that PyAV reads, as float32 mono blocks at 16 kHz.

Knows containers and codecs. Refuses to know HTTP and sessions. The file is not trusted: playlists and everything else
that makes the demuxer open further files or addresses are off, and the caller sets the longest duration.
"""

from collections.abc import Iterator
from typing import BinaryIO

import av

from .decoded_audio import SAMPLE_RATE_HZ, Samples, in_blocks, mono_pieces

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


class UnreadableAudio(ValueError):
    """The file has no audio that can be decoded."""


class AudioTooLong(ValueError):
    """The file goes on after the longest duration allowed."""


def read_blocks(source: BinaryIO, *, block_samples: int, max_samples: int) -> Iterator[Samples]:
    """Decode lazily; every block but the last has `block_samples` samples. Channels are averaged.

    Raises UnreadableAudio, or AudioTooLong once more than `max_samples` were decoded.
    """
    yield from in_blocks(_bounded(_decoded(source), max_samples), block_samples)


def _bounded(pieces: Iterator[Samples], max_samples: int) -> Iterator[Samples]:
    """The same; an error where there are none or more than `max_samples` samples."""
    decoded = 0
    for piece in pieces:
        decoded += len(piece)
        if decoded > max_samples:
            raise AudioTooLong(f"more than {max_samples / SAMPLE_RATE_HZ:g} s of audio")
        yield piece
    if not decoded:
        raise UnreadableAudio("there are no samples in the file")


def _decoded(source: BinaryIO) -> Iterator[Samples]:
    try:
        with av.open(source, "r", options=_OPTIONS) as container:
            if not container.streams.audio:
                raise UnreadableAudio("there is no audio in the file")
            yield from mono_pieces(container, "an uploaded file")
    except (av.FFmpegError, OSError, EOFError) as error:
        raise UnreadableAudio(error.strerror or str(error) if isinstance(error, OSError) else str(error)) from error
