"""The microphone over a fake sounddevice: devices, rates, the bounded queue and every kind of loss."""

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from steno.client.microphone import (
    AudioCallback,
    Microphone,
    MicrophoneBlock,
    MicrophoneError,
    input_devices,
    load_sounddevice,
)
from steno.streaming.decoded_audio import SAMPLE_RATE_HZ


@dataclass
class Flags:
    input_overflow: bool = False


@dataclass
class FakeStream:
    callback: AudioCallback
    finished_callback: Callable[[], None]
    blocksize: int
    started: bool = False
    closed: bool = False

    def start(self) -> None:
        self.started = True

    def close(self) -> None:
        self.closed = True

    def deliver(self, value: float, *, overflow: bool = False) -> None:
        """One block as PortAudio delivers it: from another thread, in a buffer that it uses again."""
        buffer = np.full((self.blocksize, 1), value, np.float32)

        def audio_thread() -> None:
            self.callback(buffer, self.blocksize, None, Flags(overflow))
            buffer[:] = 99.0

        thread = threading.Thread(target=audio_thread)
        thread.start()
        thread.join()


class PortAudioFault(Exception):
    pass


@dataclass
class FakeSoundDevice:
    """Two microphones and a loudspeaker; only `rates_hz` can be opened."""

    rates_hz: tuple[int, ...] = (16_000, 44_100, 48_000)
    streams: list[FakeStream] = field(default_factory=list)
    PortAudioError: type[Exception] = PortAudioFault

    def query_devices(self) -> Sequence[Mapping[str, object]]:
        def device(name: str, inputs: int, rate_hz: float) -> Mapping[str, object]:
            return {
                "name": name,
                "hostapi": 0,
                "max_input_channels": inputs,
                "default_samplerate": rate_hz,
            }

        return [
            device("Loudspeaker", 0, 48_000.0),
            device("USB Microphone", 1, 44_100.0),
            device("Built-in", 2, 48_000.0),
        ]

    def query_hostapis(self) -> Sequence[Mapping[str, object]]:
        return [{"name": "ALSA", "default_input_device": 2}]

    def check_input_settings(self, *, device: int | str | None, channels: int, dtype: str, samplerate: int) -> None:
        if device == "nothing like it":
            raise ValueError("No input device matching 'nothing like it'")
        if samplerate not in self.rates_hz:
            raise PortAudioFault("Invalid sample rate")

    def InputStream(
        self,
        *,
        device: int | str | None,
        channels: int,
        dtype: str,
        samplerate: int,
        blocksize: int,
        callback: AudioCallback,
        finished_callback: Callable[[], None],
    ) -> FakeStream:
        assert (channels, dtype) == (1, "float32")
        self.check_input_settings(device=device, channels=channels, dtype=dtype, samplerate=samplerate)
        stream = FakeStream(callback, finished_callback, blocksize)
        self.streams.append(stream)
        return stream


async def take(microphone: Microphone, count: int) -> list[MicrophoneBlock]:
    return [await anext(microphone) for _ in range(count)]


def test_only_devices_that_record_are_listed_and_the_default_is_marked() -> None:
    devices = input_devices(FakeSoundDevice())
    assert [(d.index, d.name, d.channels, d.rate_hz, d.is_default) for d in devices] == [
        (1, "USB Microphone", 1, 44_100, False),
        (2, "Built-in", 2, 48_000, True),
    ]
    assert devices[0].host_api == "ALSA"


def test_blocks_come_out_as_they_were_spoken_and_the_stream_is_closed() -> None:
    sound = FakeSoundDevice()

    async def record() -> list[MicrophoneBlock]:
        async with Microphone(sound, block_ms=20) as microphone:
            for value in (0.1, 0.2, 0.3):
                sound.streams[0].deliver(value)
            assert sound.streams[0].started
            return await take(microphone, 3)

    blocks = asyncio.run(record())
    assert [block.samples[0] for block in blocks] == pytest.approx([0.1, 0.2, 0.3])
    assert all(block.samples.shape == (320,) for block in blocks)
    assert not any(block.dropped_samples or block.device_overflow for block in blocks)
    assert sound.streams[0].closed


def test_a_waiting_reader_is_woken_by_the_audio_thread() -> None:
    sound = FakeSoundDevice()

    async def record() -> MicrophoneBlock:
        async with Microphone(sound) as microphone:
            reader = asyncio.ensure_future(anext(microphone))
            await asyncio.sleep(0)
            assert not reader.done()
            sound.streams[0].deliver(0.5)
            return await asyncio.wait_for(reader, 5)

    assert asyncio.run(record()).samples[0] == pytest.approx(0.5)


def test_a_full_queue_drops_the_oldest_and_tells_how_much() -> None:
    sound = FakeSoundDevice()

    async def record() -> list[MicrophoneBlock]:
        async with Microphone(sound, block_ms=20, queue_s=0.06) as microphone:
            for value in range(5):
                sound.streams[0].deliver(value / 10)
            return await take(microphone, 3)

    blocks = asyncio.run(record())
    assert [block.samples[0] for block in blocks] == pytest.approx([0.2, 0.3, 0.4])
    assert [block.dropped_samples for block in blocks] == [640, 0, 0]


def test_an_overflow_of_the_device_is_reported_with_the_block_after_it() -> None:
    sound = FakeSoundDevice()

    async def record() -> list[MicrophoneBlock]:
        async with Microphone(sound) as microphone:
            sound.streams[0].deliver(0.1)
            sound.streams[0].deliver(0.2, overflow=True)
            return await take(microphone, 2)

    assert [block.device_overflow for block in asyncio.run(record())] == [False, True]


def test_a_device_without_16_khz_is_resampled_from_its_own_rate() -> None:
    sound = FakeSoundDevice(rates_hz=(48_000,))

    async def record() -> list[MicrophoneBlock]:
        async with Microphone(sound, block_ms=40) as microphone:
            for _ in range(50):
                sound.streams[0].deliver(0.25)
            return await take(microphone, 50)

    samples = np.concatenate([block.samples for block in asyncio.run(record())])
    assert abs(len(samples) - 2 * SAMPLE_RATE_HZ) < 1000  # the resampler holds back its filter
    assert np.allclose(samples[1000:-1000], 0.25, atol=1e-3)


def test_a_device_that_goes_away_ends_the_recording_with_an_error() -> None:
    sound = FakeSoundDevice()

    async def record() -> None:
        async with Microphone(sound, device=1) as microphone:
            sound.streams[0].deliver(0.1)
            sound.streams[0].finished_callback()
            await take(microphone, 1)  # what was recorded is still delivered
            await take(microphone, 1)

    with pytest.raises(MicrophoneError, match="the microphone 1 stopped delivering audio"):
        asyncio.run(record())


def test_an_unknown_device_is_named_with_the_way_to_list_devices() -> None:
    async def record() -> None:
        async with Microphone(FakeSoundDevice(), device="nothing like it"):
            pass

    with pytest.raises(MicrophoneError, match=r"'nothing like it' cannot record: .*steno devices"):
        asyncio.run(record())


def test_a_queue_shorter_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one block of 40 ms"):
        Microphone(FakeSoundDevice(), queue_s=0.01)


def test_a_missing_package_is_a_microphone_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MicrophoneError, match="sounddevice is missing"):
        load_sounddevice()
