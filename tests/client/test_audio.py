"""Audio files: every format to the same mono 16 kHz samples, damage named, pacing by an injected clock."""

import asyncio
import io
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from steno.client.audio import AudioFileError, paced, read_audio, read_blocks, to_pcm16
from steno.streaming.decoded_audio import SAMPLE_RATE_HZ, Samples


def tone(seconds: float, *, rate_hz: int, hz: float = 440.0, peak: float = 0.5) -> Samples:
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (peak * np.sin(2 * np.pi * hz * times_s)).astype(np.float32)


def write_wav(path: Path, channels: NDArray[np.float32], rate_hz: int) -> Path:
    """`channels`: [samples] or [samples, channels]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if channels.ndim == 1 else channels.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(to_pcm16(channels.reshape(-1)))
    return path


def write_encoded(path: Path, samples: Samples, *, codec: str, rate_hz: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        pcm = np.frombuffer(to_pcm16(samples), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate_hz)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def test_a_16_khz_file_comes_back_sample_for_sample(tmp_path: Path) -> None:
    samples = tone(1.03, rate_hz=SAMPLE_RATE_HZ)
    read = read_audio(write_wav(tmp_path / "a.wav", samples, SAMPLE_RATE_HZ))
    assert read.dtype == np.float32
    assert to_pcm16(read) == to_pcm16(samples)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_is_resampled_to_16_khz(tmp_path: Path, rate_hz: int) -> None:
    read = read_audio(write_wav(tmp_path / "a.wav", tone(1.0, rate_hz=rate_hz), rate_hz))
    expected = tone(1.0, rate_hz=SAMPLE_RATE_HZ)
    assert abs(len(read) - len(expected)) <= 32
    middle = slice(800, len(expected) - 800)
    assert np.max(np.abs(read[middle] - expected[middle])) < 0.01


def test_channels_are_averaged_and_never_clip(tmp_path: Path) -> None:
    loud = tone(0.5, rate_hz=SAMPLE_RATE_HZ, peak=0.99)
    both = write_wav(tmp_path / "both.wav", np.stack([loud, loud], axis=1), SAMPLE_RATE_HZ)
    left = write_wav(tmp_path / "left.wav", np.stack([loud, 0 * loud], axis=1), SAMPLE_RATE_HZ)
    assert np.allclose(read_audio(both), loud, atol=1e-4)
    assert np.allclose(read_audio(left), loud / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz"),
    [("opus", "libopus", 48_000), ("mp3", "libmp3lame", 44_100), ("flac", "flac", 44_100)],
)
def test_compressed_files_keep_their_length_and_pitch(tmp_path: Path, suffix: str, codec: str, rate_hz: int) -> None:
    path = write_encoded(tmp_path / f"a.{suffix}", tone(2.0, rate_hz=rate_hz), codec=codec, rate_hz=rate_hz)
    read = read_audio(path)
    assert abs(len(read) - 2 * SAMPLE_RATE_HZ) < 0.1 * SAMPLE_RATE_HZ
    window = read[8000:24000]
    strongest_hz = int(np.argmax(np.abs(np.fft.rfft(window))))  # one second: bins are Hz
    assert strongest_hz == 440


@pytest.mark.parametrize("block_samples", [1, 160, 640, 999, 50_000])
def test_blocks_join_to_the_whole_file(tmp_path: Path, block_samples: int) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0.7, rate_hz=44_100), 44_100)
    blocks = list(read_blocks(path, block_samples=block_samples))
    assert all(len(block) == block_samples for block in blocks[:-1])
    assert 0 < len(blocks[-1]) <= block_samples
    assert np.array_equal(np.concatenate(blocks), read_audio(path))


def test_an_open_binary_file_is_read_like_a_path(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0.3, rate_hz=SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
    with path.open("rb") as file:
        assert np.array_equal(read_audio(file), read_audio(path))


def test_damaged_packets_are_skipped_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_encoded(tmp_path / "a.mp3", tone(2.0, rate_hz=44_100), codec="libmp3lame", rate_hz=44_100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = bytes(600)
    path.write_bytes(content)
    assert len(read_audio(path)) > SAMPLE_RATE_HZ
    assert any("a.mp3" in record.message for record in caplog.records)


@pytest.mark.parametrize("content", [b"", b"not audio at all, only words " * 40])
def test_a_file_that_is_no_audio_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.dat"
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=r"letter\.dat: cannot be read as audio"):
        read_audio(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"gone\.wav: .*No such file"):
        list(read_blocks(tmp_path / "gone.wav"))
    with pytest.raises(AudioFileError, match="cannot be read as audio"):
        list(read_blocks(tmp_path))


def test_a_file_without_an_audio_stream_is_named(tmp_path: Path) -> None:
    path = tmp_path / "picture.ppm"
    path.write_bytes(b"P6 2 2 255\n" + bytes(12))
    with pytest.raises(AudioFileError, match="no audio"):
        read_audio(path)


def test_a_wav_header_without_samples_is_an_error() -> None:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    content.name = "empty.wav"
    content.seek(0)
    with pytest.raises(AudioFileError, match=r"empty\.wav.*no samples"):
        read_audio(content)


def test_pcm16_rounds_and_clips() -> None:
    samples = np.array([0.0, 0.5, -1.0, 1.0, 7.0, 1.4 / 32768], np.float32)
    assert np.frombuffer(to_pcm16(samples), "<i2").tolist() == [0, 16384, -32768, 32767, 32767, 1]


class VirtualTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def blocks_of(count: int, samples: int = 1600) -> Iterator[Samples]:
    return (np.zeros(samples, np.float32) for _ in range(count))


def due_times_s(count: int, time: VirtualTime, *, speed: float = 1.0, stall_s: float = 0.0) -> list[float]:
    """When each 0.1 s block comes out, from the start; the consumer stalls once, after the first."""

    async def consume() -> list[float]:
        started_s = time.now_s
        due_s: list[float] = []
        async for _ in paced(blocks_of(count), speed=speed, clock=time.clock, sleep=time.sleep):
            due_s.append(time.now_s - started_s)
            if len(due_s) == 1:
                time.now_s += stall_s
        return due_s

    return asyncio.run(consume())


@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0])
def test_a_block_is_due_once_its_last_sample_was_spoken(speed: float) -> None:
    due_s = due_times_s(5, VirtualTime(), speed=speed)
    assert due_s == pytest.approx([0.1 * n / speed for n in range(1, 6)])


def test_a_slow_consumer_is_caught_up_with_not_waited_for_again() -> None:
    time = VirtualTime()
    assert due_times_s(6, time, stall_s=0.25) == pytest.approx([0.1, 0.35, 0.35, 0.4, 0.5, 0.6])
    assert len(time.slept_s) == 4


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_senseless_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be a positive number"):
        due_times_s(1, VirtualTime(), speed=speed)
