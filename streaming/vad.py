"""Which 20 ms frames are speech. Knows frames and levels; refuses to know segments, time limits and the wire.

`WebrtcVad` asks Google's WebRTC detector and a level gate: the frame must also stand out from the background, whose
level is followed all the time. Both together pass a small hysteresis, so that single frames do not flip the answer. The
detector knows absolute levels and would miss a quiet microphone: a gain brings the loudest of late to one level.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import webrtcvad

from .config import SessionOptions
from .work import SAMPLE_RATE, Samples

FRAME = SAMPLE_RATE // 50
"""Samples of a frame: 20 ms."""

_QUIETEST_DB = -80.0  # below this nothing counts as background: digital silence must not make a gate of -100 dB
_USUAL_FLOOR_DB = -70.0  # taken for the background of a stream that begins; a loud hum leaks as much into the band
_LOUDEST_FLOOR_DB = -20.0
_RISE_DB = 0.04  # per frame, 2 dB/s: slower than the swing of speech, fast enough for a fan switched on
_FALL = 0.2  # share of the way per frame
_STEADY_FRAMES, _STEADY_DB = 50, 5.0  # no voice stays within 5 dB for a second; noise, hum and held tones do
_DETECTOR_DB = -30.0  # level of the loudest of late as the detector hears it
_LOUDEST_GAIN_DB = 40.0
_SPEECH_OVER_BACKGROUND_DB = 20.0  # the loudest of late is taken for no less
_VOICE_RANGE_DB = 38.0  # nothing so far below the loudest of late is speech: hiss after digital silence is not
_LOUDNESS_FALL_DB = 0.06  # per frame, 3 dB/s
_ONSET = (3, 5)  # 3 speech frames of the last 5 switch on
_RELEASE = 4  # 4 frames without speech switch off
_HANN = np.hanning(FRAME + 1)[:-1].astype(np.float32)
_BAND = slice(4, 81)  # of 50 Hz each


class Vad(Protocol):
    """A frame classifier with memory; one for each stream of audio."""

    def classify(self, samples: Samples) -> Sequence[bool]:
        """Speech or not, for each of the n whole frames in `samples`, shape [n * FRAME], n may be 0."""


def levels_db(samples: Samples) -> Samples:
    """Level of each whole frame between 200 Hz and 4 kHz, in dB below full scale: shape [n] of [n * FRAME].

    Hum and rumble lie below that band, most of a hiss above it. A frame of silence is -100.
    """
    spectra = np.fft.rfft(samples.reshape(-1, FRAME) * _HANN)[:, _BAND]
    power = np.square(np.abs(spectra)).sum(axis=1) * (2 / (FRAME * np.square(_HANN).sum()))
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)), dtype=np.float32)


class BackgroundLevel:
    """The level that is always there, in dB.

    It falls to a quieter frame fast and rises to a louder one slowly, but jumps to a sound that holds its level.
    """

    def __init__(self) -> None:
        self.level_db = _USUAL_FLOOR_DB
        self._recent: deque[float] = deque(maxlen=_STEADY_FRAMES)

    def follow(self, level_db: float) -> None:
        """Take the level of the next frame."""
        self._recent.append(level_db)
        if level_db < self.level_db:
            self.level_db += _FALL * (level_db - self.level_db)
        elif len(self._recent) == _STEADY_FRAMES and max(self._recent) - min(self._recent) < _STEADY_DB:
            self.level_db = sum(self._recent) / _STEADY_FRAMES
        else:
            self.level_db += min(_RISE_DB, level_db - self.level_db)
        self.level_db = min(max(self.level_db, _QUIETEST_DB), _LOUDEST_FLOOR_DB)


class RecentLoudness:
    """Level of the loudest of late, in dB: what a voice is measured against, as far as it is known.

    It rises at once and falls slowly, to 20 dB over the background and no further.
    """

    def __init__(self) -> None:
        self.level_db = -100.0
        self._frames = 0

    def follow(self, level_db: float, background_db: float) -> None:
        """Take the level of the next frame."""
        fallen = max(self.level_db - _LOUDNESS_FALL_DB, background_db + _SPEECH_OVER_BACKGROUND_DB)
        self.level_db = max(level_db, fallen)
        self._frames += 1

    @property
    def gain(self) -> float:
        """Factor that brings it to the level that the detector knows: never down, up by 40 dB at most.

        1 in the first second, while the background is not known: noise would be brought to the level of speech.
        """
        if self._frames <= _STEADY_FRAMES:
            return 1.0
        return float(10 ** (min(max(_DETECTOR_DB - self.level_db, 0.0), _LOUDEST_GAIN_DB) / 20))


class WebrtcVad:
    """WebRTC's detector behind a gain, a level gate and a hysteresis.

    Args:
        aggressiveness: 0 (lets most through) to 3.
        margin_db: how far above the background a frame must be to begin speech; half of it to go on.
    """

    def __init__(self, *, aggressiveness: int = 2, margin_db: float = 6.0) -> None:
        self._detector = webrtcvad.Vad(aggressiveness)
        self._margin_db = margin_db
        self._background = BackgroundLevel()
        self._loudness = RecentLoudness()
        self._recent: deque[bool] = deque(maxlen=_ONSET[1])
        self._speaking = False

    def classify(self, samples: Samples) -> list[bool]:
        """See `Vad.classify`."""
        frames = samples.reshape(-1, FRAME)
        answers = []
        for frame, level in zip(frames, levels_db(samples).tolist(), strict=True):
            self._background.follow(level)
            self._loudness.follow(level, self._background.level_db)
            margin = self._margin_db / 2 if self._speaking else self._margin_db
            stands_out = level > max(self._background.level_db + margin, self._loudness.level_db - _VOICE_RANGE_DB)
            peak = max(float(np.abs(frame).max()), 1e-5)
            # A loud hum, whose level here is low, must not be clipped: its harmonics would lie where voices do.
            heard = frame * min(self._loudness.gain, max(1.0, 1 / peak))
            pcm = (np.minimum(np.maximum(heard, -1), 1) * 32767).astype(np.int16).tobytes()
            # The detector hears every frame: it adapts to the background by itself.
            voiced = bool(self._detector.is_speech(pcm, SAMPLE_RATE))
            answers.append(self._smooth(voiced and stands_out))
        return answers

    def _smooth(self, speech: bool) -> bool:
        self._recent.append(speech)
        if self._speaking:
            self._speaking = any(list(self._recent)[-_RELEASE:])
        else:
            self._speaking = sum(self._recent) >= _ONSET[0]
        return self._speaking


def webrtc_vad(options: SessionOptions) -> Vad:
    """The VAD of real sessions."""
    return WebrtcVad(aggressiveness=options.vad_aggressiveness, margin_db=options.vad_margin_db)
