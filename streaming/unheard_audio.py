"""A turn that the client ended and in which the VAD heard nothing: kept, and looked at again at a normal level.

The VAD keeps silence between the client's commits from the model. It does not hear a microphone that is very quiet, or
not within the first second; the client, who said that a turn ended here, did. Pure; knows bytes of audio and sessions.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from . import protocol as wire
from .audio_input import AudioInput
from .config import SessionOptions
from .protocol import Start
from .session import Session
from .vad import FRAME, webrtc_vad
from .work import Samples

LONGEST_BYTES = 1 << 20
"""Of audio kept: 20 s at 24 kHz; a longer turn keeps its end."""

_SLICE_BYTES = 1 << 16
_NORMAL_PEAK = 0.5
_SILENT_PEAK = 1e-3  # -60 dB


def has_speech(samples: Samples, options: SessionOptions) -> bool:
    """Whether there is speech in `samples` once they are at a normal level."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < _SILENT_PEAK:
        return False
    level = samples[: len(samples) // FRAME * FRAME] * np.float32(_NORMAL_PEAK / peak)
    return any(webrtc_vad(options).classify(level))


class UnheardAudio:
    """The audio since the last commit, as long as no segment began in it."""

    def __init__(self) -> None:
        self._pcm = bytearray()
        self._heard = False

    def add(self, pcm: bytes) -> None:
        """More audio, in whole samples."""
        if not self._heard:
            self._pcm += pcm
            excess = len(self._pcm) - LONGEST_BYTES
            if excess > 0:
                del self._pcm[: excess + excess % 2]

    def heard(self) -> None:
        """A segment began: the VAD hears this speaker."""
        self._heard = True
        self._pcm.clear()

    def clear(self) -> None:
        """A new turn begins, or a new format."""
        self._heard = False
        self._pcm.clear()

    def hand_over(self, session: Session, start: Start, offered: SessionOptions) -> None:
        """Give what was not heard to `session` as one segment, if there is speech in it; then a new turn begins.

        `start` and `offered` are what the session was configured with, and is again afterwards.
        """
        pcm = bytes(self._pcm)
        self.clear()
        if not pcm or not has_speech(_decoded(pcm, start), offered):
            return
        session.reconfigure(msgspec.structs.replace(start, vad=False), offered)
        for piece in _slices(pcm):
            session.receive_audio(piece)
        session.receive_control(wire.Commit())
        session.reconfigure(start, offered)


def _decoded(pcm: bytes, start: Start) -> Samples:
    heard = AudioInput(sample_rate=start.sample_rate, encoding=start.encoding, channels=start.channels)
    return np.concatenate((heard.decode(pcm), heard.flush()))


def _slices(pcm: bytes) -> Iterator[bytes]:
    for at in range(0, len(pcm), _SLICE_BYTES):
        yield pcm[at : at + _SLICE_BYTES]
