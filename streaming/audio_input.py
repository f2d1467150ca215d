"""From the client's bytes to mono float32 at 16 kHz, message by message. Pure; knows no segments and no wire messages.

The resampler is fed as a stream, so message borders leave no trace in the sound: the samples out depend on the bytes
in, not on how they were cut.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import soxr
from numpy.typing import NDArray

from .protocol import ErrorCode, ProtocolError
from .work import SAMPLE_RATE, Samples

SAMPLE_RATES = (8000, 16000, 24000, 44100, 48000)
CHANNELS = (1, 2)
_LOUDEST_FLOAT = 8.0  # above this a client surely sends integers as floats


def _mulaw_table() -> Samples:
    """G.711 mu-law, decoded values by code."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = (((mantissa.astype(np.int32) << 3) + 132) << exponent) - 132
    return (np.where(code & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> Samples:
    """G.711 A-law, decoded values by code."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, magnitude, -magnitude) / 32768).astype(np.float32)


_MULAW, _ALAW = _mulaw_table(), _alaw_table()


def _from_s16le(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768)


def _from_f32le(pcm: bytes) -> Samples:
    samples = np.frombuffer(pcm, dtype="<f4").astype(np.float32)
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak <= _LOUDEST_FLOAT:  # not NaN and not infinite either
        raise ProtocolError(ErrorCode.BAD_AUDIO, f"a float sample of magnitude {peak}, expected -1 to 1")
    return np.clip(samples, -1, 1)


def _from_mulaw(pcm: bytes) -> Samples:
    return _MULAW[np.frombuffer(pcm, dtype=np.uint8)]


def _from_alaw(pcm: bytes) -> Samples:
    return _ALAW[np.frombuffer(pcm, dtype=np.uint8)]


_ENCODINGS: Mapping[str, tuple[int, Callable[[bytes], Samples]]] = MappingProxyType(
    {
        "pcm_s16le": (2, _from_s16le),
        "pcm_f32le": (4, _from_f32le),
        "mulaw": (1, _from_mulaw),
        "alaw": (1, _from_alaw),
    }
)

ENCODINGS = tuple(_ENCODINGS)


class AudioInput:
    """Decoder and resampler of one stream.

    Args:
        sample_rate: of the client, one of SAMPLE_RATES.
        encoding: one of ENCODINGS.
        channels: interleaved, one of CHANNELS; two are averaged.
        origin: position of the first sample, where another format came before.

    Raises:
        ProtocolError: UNSUPPORTED_SAMPLE_RATE, UNSUPPORTED_ENCODING or UNSUPPORTED_CHANNELS.
    """

    def __init__(self, *, sample_rate: int, encoding: str, channels: int, origin: int = 0) -> None:
        _check(ErrorCode.UNSUPPORTED_SAMPLE_RATE, "sample_rate", sample_rate, SAMPLE_RATES)
        _check(ErrorCode.UNSUPPORTED_ENCODING, "encoding", encoding, ENCODINGS)
        _check(ErrorCode.UNSUPPORTED_CHANNELS, "channels", channels, CHANNELS)
        width, self._decode = _ENCODINGS[encoding]
        self._frame_bytes = width * channels
        self._channels = channels
        self._rate = sample_rate
        self._resampler = self._new_resampler()
        self._origin = self._handed_out = origin  # position that the samples given back so far reach, gaps included
        self.samples_received = 0
        """Per channel, at the client's rate; gaps included."""

    @property
    def position(self) -> int:
        """Where the stream stands at 16 kHz: the samples that all input so far is worth."""
        return self._origin + self.samples_received * SAMPLE_RATE // self._rate

    def decode(self, pcm: bytes) -> Samples:
        """The next samples at 16 kHz, shape [n]. The resampler keeps some milliseconds back until `flush`.

        Raises:
            ProtocolError: BAD_AUDIO for a part of a sample, NaN, or floats far out of -1..1.
        """
        if len(pcm) % self._frame_bytes:
            raise ProtocolError(
                ErrorCode.BAD_AUDIO, f"{len(pcm)} bytes of audio, expected a multiple of {self._frame_bytes}"
            )
        samples = self._decode(pcm)
        if self._channels > 1:
            samples = samples.reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        self.samples_received += len(samples)
        if self._resampler is not None:
            samples = _float32(self._resampler.resample_chunk(samples))
        self._handed_out += len(samples)
        return samples

    def flush(self) -> Samples:
        """What the resampler still holds: all samples given back now reach `position`, exactly.

        The next `decode` begins anew, as after silence.
        """
        if self._resampler is None:
            return np.zeros(0, np.float32)
        tail = _float32(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        self._resampler = self._new_resampler()
        missing = self.position - self._handed_out
        self._handed_out = self.position
        return np.pad(tail[:missing], (0, max(missing - len(tail), 0)))

    def skip(self, samples: int) -> int:
        """Let `samples` (per channel, at the client's rate) pass without audio; call `flush` before.

        Returns:
            How many samples at 16 kHz that is.
        """
        self.samples_received += samples
        skipped, self._handed_out = self.position - self._handed_out, self.position
        return skipped

    def _new_resampler(self) -> soxr.ResampleStream | None:
        if self._rate == SAMPLE_RATE:
            return None
        return soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")


def _check(code: ErrorCode, name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        expected = ", ".join(str(each) for each in allowed)
        raise ProtocolError(code, f"{name} is {value!r}, expected one of {expected}")


def _float32(samples: NDArray[np.float32]) -> Samples:
    return np.ascontiguousarray(samples, dtype=np.float32)
