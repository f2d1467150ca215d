"""What a server hears where nobody speaks: segments opened and words invented, per kind of sound.

    python scripts/eval_silence.py --model tiny --minutes 10 --json build/eval_silence.json

Each sound goes through a session as a client's audio would; the segments that its VAD opens are transcribed by the
model. Recordings without speech may be added by name; they are heard once, whole.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from steno.client.audio import read_audio
from steno.models.recognizer import Recognizer
from steno.streaming.config import SessionOptions
from steno.streaming.protocol import Start
from steno.streaming.session import Session
from steno.streaming.work import SAMPLE_RATE, FeedAudio, Finish, Samples

PACKET = SAMPLE_RATE // 10


@dataclass(frozen=True, slots=True)
class Score:
    """What came of one sound."""

    sound: str
    seconds: float
    segments: int
    segments_s: float
    texts: tuple[str, ...]  # of the finals that were not empty


def tones(seconds: int, hertz: Sequence[float], note_s: float, chance: np.random.Generator) -> Samples:
    """A melody of pure tones of random choice, no gaps."""
    notes = np.repeat(chance.choice(np.array(hertz), int(seconds / note_s) + 1), int(note_s * SAMPLE_RATE))
    phase = 2 * np.pi * np.cumsum(notes[: seconds * SAMPLE_RATE]) / SAMPLE_RATE
    return (0.1 * np.sin(phase)).astype(np.float32)


def chords(seconds: int, chance: np.random.Generator) -> Samples:
    """Plucked triads with overtones, two a second: the rhythm and the spectrum of an instrument."""
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    overtones = [(number, 0.6**number) for number in range(1, 7)]
    plucked = []
    for root in chance.choice(np.array([131.0, 147.0, 165.0, 175.0, 196.0]), 2 * seconds):
        waves = [
            share * np.sin(2 * np.pi * root * ratio * number * time)
            for ratio in (1.0, 1.25, 1.5)
            for number, share in overtones
        ]
        plucked.append(0.05 * np.exp(-4 * time) * np.sum(waves, axis=0))
    return np.concatenate(plucked).astype(np.float32)


def noise(seconds: int, level: float, exponent: float, chance: np.random.Generator) -> Samples:
    """Noise whose power falls with frequency as 1/f^exponent (0 white, 1 pink), of the level (RMS)."""
    spectrum = np.fft.rfft(chance.standard_normal(seconds * SAMPLE_RATE))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (exponent / 2)
    wave = np.fft.irfft(spectrum, seconds * SAMPLE_RATE)
    return np.asarray(level * wave / wave.std(), np.float32)


def hum(seconds: int) -> Samples:
    """Mains hum: 50 Hz and two overtones."""
    time = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    parts = [share * np.sin(2 * np.pi * 50 * number * time) for number, share in ((1, 0.05), (2, 0.02), (3, 0.02))]
    return np.asarray(np.sum(parts, axis=0), np.float32)


def sounds(seconds: int) -> Mapping[str, Callable[[], Samples]]:
    """Makers of the sounds, by name; the same sounds each time."""
    chance = np.random.default_rng(8)
    return {
        "digital silence": lambda: np.zeros(seconds * SAMPLE_RATE, np.float32),
        "white noise, -40 dB": lambda: noise(seconds, 0.01, 0, chance),
        "white noise, -20 dB": lambda: noise(seconds, 0.1, 0, chance),
        "pink noise, -30 dB": lambda: noise(seconds, 0.03, 1, chance),
        "hum": lambda: hum(seconds),
        "held tone": lambda: tones(seconds, (440.0,), 1.0, chance),
        "melody of tones": lambda: tones(seconds, (220.0, 262.0, 330.0, 392.0, 440.0), 0.4, chance),
        "plucked chords": lambda: chords(seconds, chance),
    }


def hear(recognizer: Recognizer, samples: Samples) -> tuple[list[float], list[str]]:
    """Lengths in seconds and texts of the segments that a session makes of the samples."""
    session = Session(SessionOptions(), session_id="silence", model=recognizer.name)
    session.receive_control(Start(encoding="pcm_f32le"))
    lengths_s: list[float] = []
    texts: list[str] = []
    fed: list[Samples] = []
    for at in range(0, len(samples) + PACKET, PACKET):
        if at < len(samples):
            session.receive_audio(samples[at : at + PACKET].astype("<f4").tobytes())
        else:
            session.drain()
        for work in session.work_to_run():
            if isinstance(work, FeedAudio):
                fed.append(work.samples)
            if isinstance(work, Finish):
                segment = np.concatenate(fed)
                session.receive_failure(work.segment, "transcribed here, in one piece")
                lengths_s.append(len(segment) / SAMPLE_RATE)
                texts.append(recognizer.transcribe(segment).text)
                fed = []
        session.messages_to_send()
    return lengths_s, texts


def score(recognizer: Recognizer, name: str, samples: Samples) -> Score:
    """Hear one sound."""
    lengths_s, texts = hear(recognizer, samples)
    said = tuple(text for text in texts if text.strip())
    return Score(name, round(len(samples) / SAMPLE_RATE, 1), len(lengths_s), round(sum(lengths_s), 1), said)


def table(scores: Sequence[Score]) -> Table:
    """The scores for people."""
    shown = Table("sound", "minutes", "segments", "of them s", "with words", "for example")
    for each in scores:
        shown.add_row(
            each.sound,
            f"{each.seconds / 60:.1f}",
            str(each.segments),
            f"{each.segments_s:.1f}",
            str(len(each.texts)),
            " / ".join(each.texts[:3]),
        )
    return shown


def main() -> None:
    """Hear every sound and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path, help="recordings without speech, heard too")
    parser.add_argument("--model", default="tiny", help="'tiny', a folder or a hub name")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each sound (default 10)")
    parser.add_argument("--json", type=Path, help="write the scores there too")
    options = parser.parse_args()
    recognizer = Recognizer.load(options.model)
    scores = [score(recognizer, name, make()) for name, make in sounds(round(options.minutes * 60)).items()]
    for path in options.recordings:
        scores.append(score(recognizer, path.name, read_audio(path)))
    Console().print(table(scores))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([asdict(each) for each in scores], indent=2) + "\n")


if __name__ == "__main__":
    main()
