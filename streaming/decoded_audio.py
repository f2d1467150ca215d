"""From an opened container to float32 mono samples at 16 kHz: what the server and the client do alike with a file.

Knows PyAV's containers, packets and frames. Refuses to know where a file comes from and whether it is trusted.
"""

import logging
from collections.abc import Iterable, Iterator

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000

_log = logging.getLogger(__name__)


def mono_pieces(container: av.container.InputContainer, name: str) -> Iterator[Samples]:
    """Decode the first audio stream of `container`, which has one, into pieces of any length, in [-1, 1].

    Packets that the decoder refuses are skipped and counted in the log under `name`. Raises what PyAV raises.
    """
    damaged = 0
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
    if damaged:
        _log.warning("%s: %d damaged packets skipped", name, damaged)


def in_blocks(pieces: Iterable[Samples], block_samples: int) -> Iterator[Samples]:
    """Pieces of any length as blocks of `block_samples`; only the last may be shorter, none is empty."""
    pending: list[Samples] = []
    held = 0
    for piece in pieces:
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
                mono = np.nan_to_num(channels.mean(axis=0, dtype=np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
                yield np.clip(mono, -1, 1)
