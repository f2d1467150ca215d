"""Audio files: anything that PyAV decodes, as float32 mono blocks at 16 kHz, and their pacing.

Knows containers, codecs and sample rates. Refuses to know sockets, sessions and what the samples say. Time enters
only through the clock and the sleep that the caller of `paced` may replace.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from steno.streaming.decoded_audio import SAMPLE_RATE_HZ, Samples, in_blocks, mono_pieces

BLOCK_SAMPLES = 640  # 40 ms: short against the lag of a caption, long against the cost of a frame


class AudioFileError(Exception):
    """A file that cannot be read as audio; the text names the file and the reason."""


def read_blocks(source: str | Path | BinaryIO, *, block_samples: int = BLOCK_SAMPLES) -> Iterator[Samples]:
    """Decode `source` lazily into blocks of `block_samples` float32 samples, mono, 16 kHz, in [-1, 1].

    Only the last block may be shorter. Channels are averaged. Packets that the decoder refuses are skipped and
    counted in the log. Raises AudioFileError when nothing can be decoded, ValueError for a bad `block_samples`.
    """
    if block_samples < 1:
        raise ValueError(f"block_samples must be at least 1, got {block_samples}")
    yield from in_blocks(_decode(source), block_samples)


def read_audio(source: str | Path | BinaryIO) -> Samples:
    """The whole of `source` as one array, shape [N], float32 mono at 16 kHz. Raises AudioFileError."""
    return np.concatenate(list(_decode(source)))


def to_pcm16(samples: Samples) -> bytes:
    """Float32 samples in [-1, 1] as little-endian 16-bit PCM, clipped; 0.5 becomes 16384."""
    pcm: NDArray[np.int16] = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
    return pcm.tobytes()


async def paced(
    blocks: Iterable[Samples],
    *,
    speed: float = 1.0,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Samples]:
    """Yield each block when a microphone would have delivered it: after its last sample has been spoken.

    `speed` 2.0 is twice real time. Due times count from the first request, so lateness never adds up.
    Raises ValueError unless `speed` is finite and positive.
    """
    if not (math.isfinite(speed) and speed > 0):
        raise ValueError(f"speed must be a positive number, got {speed}")
    started_s = clock()
    spoken_samples = 0
    for block in blocks:
        spoken_samples += len(block)
        wait_s = started_s + spoken_samples / (sample_rate_hz * speed) - clock()
        if wait_s > 0:
            await sleep(wait_s)
        yield block


def _decode(source: str | Path | BinaryIO) -> Iterator[Samples]:
    name = _name_of(source)
    decoded = False
    try:
        with av.open(str(source) if isinstance(source, Path) else source) as container:
            if not container.streams.audio:
                raise AudioFileError(f"{name}: there is no audio in this file")
            for piece in mono_pieces(container, name):
                decoded = True
                yield piece
    except (av.FFmpegError, OSError) as error:
        # PyAV appends the path and its own log line to strerror; the reason alone is what a user needs.
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioFileError(f"{name}: cannot be read as audio: {reason}") from error
    if not decoded:
        raise AudioFileError(f"{name}: cannot be read as audio: no samples in it")


def _name_of(source: str | Path | BinaryIO) -> str:
    return str(source) if isinstance(source, str | Path) else str(source.name)
