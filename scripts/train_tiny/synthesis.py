"""Synthetic speech with espeak-ng and flite: a text and a voice in, 16 kHz samples out.

Knows how to call the two programs and the list of voices; nothing of what is said.
"""

import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .espeak import Espeak

SAMPLE_RATE = 16_000
_ACCENTS = ["en-us", "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan"]
_ACCENTS += ["en-gb-x-gbcwmd", "en-029"]
_VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt2 klatt4 Adam Alex Alicia Andrea Andy Annie "
    "Belinda Benjamin Boris Caleb David Denis Ed Edward Gene Hugo Iven Jacky John Lee Linda Marco "
    "Mario Max Michael Mike Pablo Paul Quincy Rob Robert Steph Zac anika shelby travis victor"
).split()
_FLITE = ["slt", "rms", "awb", "kal16"]


@dataclass(frozen=True, slots=True)
class Voice:
    """One synthetic speaker."""

    program: str  # "espeak-ng" or "flite"
    name: str
    speed: float  # 1 is the program's own speed
    pitch: int  # 0..99, of espeak-ng only

    @property
    def speaker(self) -> str:
        return f"{self.program}:{self.name}:{self.pitch}"


def draw_voice(rng: random.Random, language: str) -> Voice:
    """A random voice for "en" or "es" among the installed programs."""
    speed = rng.uniform(0.75, 1.25)
    if language == "en" and shutil.which("flite") and rng.random() < 0.3:
        return Voice("flite", rng.choice(_FLITE), speed, 50)
    accent = rng.choice(_ACCENTS if language == "en" else ["es", "es-419"])
    pitch = rng.choice([25, 40, 50, 60, 75])
    return Voice("espeak-ng", f"{accent}+{rng.choice(_VARIANTS)}", speed, pitch)


Timed = tuple[NDArray[np.float32], list[tuple[str, int]]]


@cache
def _espeak() -> Espeak:
    return Espeak()


def render(text: str, voice: Voice) -> Timed:
    """Speech of `text`, mono 16 kHz, silence at the ends cut to 0.1 s; and (phoneme, first sample) in order.

    flite tells no phonemes. FileNotFoundError or OSError without the program.
    """
    phonemes: list[tuple[str, int]] = []
    if voice.program == "flite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            stretch = f"duration_stretch={1 / voice.speed:.3f}"
            command = ["flite", "-voice", voice.name, "--setf", stretch, "-t", text, "-o", str(path)]
            subprocess.run(command, check=True, capture_output=True)
            samples, rate = soundfile.read(path, dtype="float32")
    else:
        samples, phonemes = _espeak().say(text, voice.name, round(165 * voice.speed), voice.pitch)
        rate = _espeak().sample_rate
    resampled = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    first, last = loud_span(resampled)
    timed = [(p, max(0, round(at * SAMPLE_RATE / rate) - first)) for p, at in phonemes]
    return resampled[first:last], timed


def loud_span(samples: NDArray[np.float32], keep_s: float = 0.1) -> tuple[int, int]:
    """(first, last + 1) without leading and trailing stretches 45 dB below the peak, but for `keep_s`."""
    if samples.size == 0:
        return 0, 0
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() * 10 ** (-45 / 20))
    if loud.size == 0:
        return 0, samples.size
    keep = int(keep_s * SAMPLE_RATE)
    return max(0, int(loud[0]) - keep), min(samples.size, int(loud[-1]) + 1 + keep)
