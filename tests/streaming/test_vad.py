"""Speech passes, steady sounds do not for long, single frames do not flip the answer."""

from pathlib import Path

import av
import numpy as np
import pytest

from steno.streaming.chunker import Chunker, SegmentAudio, SegmentStart
from steno.streaming.config import SessionOptions
from steno.streaming.vad import FRAME, BackgroundLevel, RecentLoudness, WebrtcVad, levels_db, webrtc_vad
from steno.streaming.work import Samples

SECOND = 16_000
CLIPS = sorted((Path(__file__).parents[2] / "models/tiny/samples").glob("*.opus"))
LOUD_CLIP = next(path for path in CLIPS if "alnum" in path.stem)
NOISE = np.random.default_rng(5)


def clip(path: Path) -> Samples:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", SECOND)
        frames = [each for frame in container.decode(audio=0) for each in resampler.resample(frame)]
        return np.concatenate([np.asarray(each.to_ndarray()[0], np.float32) for each in frames])


def segments(samples: Samples) -> tuple[int, float]:
    """How many segments the real VAD opens, and the share of the sound's energy that they hold."""
    options = SessionOptions()
    chunker = Chunker(options, webrtc_vad(options))
    events = chunker.push(samples) + chunker.commit("stop")
    inside = sum(float(np.square(each.samples).sum()) for each in events if isinstance(each, SegmentAudio))
    total = float(np.square(samples).sum())
    return sum(isinstance(each, SegmentStart) for each in events), inside / total if total else 0.0


def steady(kind: str, seconds: int) -> Samples:
    time = np.arange(seconds * SECOND) / SECOND
    sounds = {
        "digital silence": lambda: 0 * time,
        "faint noise": lambda: 1e-3 * NOISE.standard_normal(len(time)),
        "noise on an offset": lambda: 0.25 + 0.01 * NOISE.standard_normal(len(time)),
        "loud noise": lambda: 0.1 * NOISE.standard_normal(len(time)),
        "hum": lambda: 0.05 * np.sin(2 * np.pi * 50 * time) + 0.02 * np.sin(2 * np.pi * 150 * time),
        "held tone": lambda: 0.1 * np.sin(2 * np.pi * 440 * time),
    }
    return sounds[kind]().astype(np.float32)


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_real_speech_is_inside_a_segment(path: Path, gain: float) -> None:
    room = 1e-4 * NOISE.standard_normal(SECOND).astype(np.float32)
    count, share = segments(np.float32(gain) * np.concatenate((room, clip(path), room)))
    assert count >= 1
    assert share > 0.98


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
@pytest.mark.parametrize("peak_db", [-46, -36])
def test_a_quiet_microphone_is_heard(path: Path, peak_db: int) -> None:
    speech = clip(path)
    speech *= np.float32(10 ** (peak_db / 20) / np.abs(speech).max())
    room = 2e-5 * NOISE.standard_normal(2 * SECOND).astype(np.float32)
    sound = np.float32(1 / 32768) * np.round(32768 * np.concatenate((room, speech, room)))  # as 16 bits hold it
    count, share = segments(sound)
    assert count >= 1
    assert share > 0.98


@pytest.mark.parametrize(
    "kind", ["digital silence", "faint noise", "noise on an offset", "loud noise", "hum", "held tone"]
)
def test_steady_sounds_open_at_most_one_short_segment(kind: str) -> None:
    count, share = segments(steady(kind, 30))
    assert count <= 1
    assert share < 0.06


@pytest.mark.parametrize("kind", ["faint noise", "hum"])
def test_speech_over_a_steady_sound_is_still_heard(kind: str) -> None:
    speech = clip(LOUD_CLIP)
    background = steady(kind, 20)
    background[10 * SECOND : 10 * SECOND + len(speech)] += speech
    options = SessionOptions()
    spoken = np.array(webrtc_vad(options).classify(background))
    during = spoken[10 * 50 : 10 * 50 + len(speech) // FRAME]
    assert during.mean() > 0.3
    assert spoken[5 * 50 : 10 * 50].mean() < 0.02


def test_cuts_change_nothing() -> None:
    samples = clip(CLIPS[0])
    samples = samples[: len(samples) // FRAME * FRAME]
    vad = WebrtcVad()
    pieces = [vad.classify(samples[at : at + 3 * FRAME]) for at in range(0, len(samples), 3 * FRAME)]
    assert [answer for piece in pieces for answer in piece] == WebrtcVad().classify(samples)


def test_aggressiveness_lets_less_through() -> None:
    samples = np.concatenate([clip(path) for path in CLIPS])
    samples = samples[: len(samples) // FRAME * FRAME]
    shares = [np.mean(WebrtcVad(aggressiveness=level).classify(samples)) for level in (0, 3)]
    assert shares[0] > shares[1]


def test_the_background_falls_fast_rises_slowly_and_jumps_to_a_steady_sound() -> None:
    background = BackgroundLevel()
    for index in range(100):
        background.follow(-30 if index % 2 else -10)
    assert -70 < background.level_db < -60
    for _ in range(50):
        background.follow(-35)
    assert background.level_db == pytest.approx(-35, abs=0.1)
    for _ in range(20):
        background.follow(-60)
    assert background.level_db < -59


def test_levels_are_those_of_the_band_of_speech() -> None:
    def tone(frequency: float) -> Samples:
        return (0.1 * np.sin(2 * np.pi * frequency * np.arange(2 * FRAME) / SECOND) + 0.5).astype(np.float32)

    assert levels_db(tone(1000)) == pytest.approx([-23, -23], abs=0.1)
    assert levels_db(tone(60)).max() < -60
    assert levels_db(tone(6000)).max() < -60
    assert levels_db(np.zeros(FRAME, np.float32)) == pytest.approx([-100])
    assert levels_db(np.zeros(0, np.float32)).tolist() == []


def test_the_gain_is_for_quiet_voices_and_waits_for_the_background() -> None:
    loudness = RecentLoudness()
    for _ in range(50):
        loudness.follow(-60, -80)
        assert loudness.gain == 1.0
    loudness.follow(-60, -80)
    assert loudness.gain == pytest.approx(10 ** (30 / 20))
    loudness.follow(-20, -80)
    assert loudness.gain == 1.0, "never down"
    for _ in range(1000):
        loudness.follow(-90, -80)
    assert loudness.level_db == -60, "no less than 20 dB over the background"
    loudness.follow(-100, -100)
    assert loudness.gain == pytest.approx(10 ** (30.06 / 20))


def test_hiss_after_digital_silence_does_not_keep_a_segment_open() -> None:
    speech, zeros = clip(LOUD_CLIP), np.zeros(SECOND // 2, np.float32)
    hiss = 1e-4 * NOISE.standard_normal(SECOND).astype(np.float32)
    whole = np.concatenate((zeros, speech, zeros, hiss))
    whole = whole[: len(whole) // FRAME * FRAME]
    assert not any(WebrtcVad().classify(whole)[-45:])
