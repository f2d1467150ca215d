"""Audio files: anything that PyAV decodes, as float32 mono blocks at 16 kHz, and their pacing.

Knows containers, codecs and sample rates. Refuses to know sockets, sessions and what the samples say. Time enters
only through the clock and the sleep that the caller of `paced` may replace.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
BLOCK_SAMPLES = 640  # 40 ms: short against the lag of a caption, long against the cost of a frame

_log = logging.getLogger(__name__)


class AudioFileError(Exception):
    """A file that cannot be read as audio; the text names the file and the reason."""


def read_blocks(source: str | Path | BinaryIO, *, block_samples: int = BLOCK_SAMPLES) -> Iterator[Samples]:
    """Decode `source` lazily into blocks of `block_samples` float32 samples, mono, 16 kHz, in [-1, 1].

    Only the last block may be shorter. Channels are averaged. Packets that the decoder refuses are skipped and
    counted in the log. Raises AudioFileError when nothing can be decoded, ValueError for a bad `block_samples`.
    """
    if block_samples < 1:
        raise ValueError(f"block_samples must be at least 1, got {block_samples}")
    pending: list[Samples] = []
    held = 0
    for piece in _decode(source):
        pending.append(piece)
        held += len(piece)
        if held < block_samples:
            continue
        joined = np.concatenate(pending)
        whole = held - held % block_samples
        for start in range(0, whole, block_samples):
            yield joined[start : start + block_samples]
        pending, held = [joined[whole:]], held - whole
    if held:
        yield np.concatenate(pending)


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
    damaged_packets = 0
    try:
        with av.open(str(source) if isinstance(source, Path) else source) as container:
            if not container.streams.audio:
                raise AudioFileError(f"{name}: there is no audio in this file")
            mono = _MonoResampler()
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    damaged_packets += 1
                    continue
                for frame in frames:
                    for piece in mono.convert(frame):
                        decoded = True
                        yield piece
            for piece in mono.flush():
                decoded = True
                yield piece
    except (av.FFmpegError, OSError) as error:
        # PyAV appends the path and its own log line to strerror; the reason alone is what a user needs.
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioFileError(f"{name}: cannot be read as audio: {reason}") from error
    if not decoded:
        raise AudioFileError(f"{name}: cannot be read as audio: no samples in it")
    if damaged_packets:
        _log.warning("%s: %d damaged packets skipped", name, damaged_packets)


def _name_of(source: str | Path | BinaryIO) -> str:
    return str(source) if isinstance(source, str | Path) else str(source.name)


class _MonoResampler:
    """Frames of any format to mono pieces at 16 kHz; a change of format within the file starts a new resampler.

    Channels are averaged here, not by libswresample: its float down-mix of stereo is 3 dB too loud and clips.
    """

    def __init__(self) -> None:
        self._format: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def convert(self, frame: av.AudioFrame) -> Iterator[Samples]:
        arrived = (frame.format.name, frame.layout.name, frame.sample_rate)
        if arrived != self._format:
            yield from self.flush()
            self._format = arrived
            self._resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=SAMPLE_RATE_HZ)
        yield from self._resample(frame)

    def flush(self) -> Iterator[Samples]:
        """What the resampler still holds; it cannot be used again, the next frame makes a new one."""
        if self._resampler is not None:
            yield from self._resample(None)
        self._format = self._resampler = None

    def _resample(self, frame: av.AudioFrame | None) -> Iterator[Samples]:
        assert self._resampler is not None
        for resampled in self._resampler.resample(frame):
            channels = resampled.to_ndarray()  # [channels, samples]
            if channels.shape[1]:
                yield channels.mean(axis=0, dtype=np.float32)
