"""The microphone: sounddevice's callback to a bounded queue of float32 mono blocks at 16 kHz.

Knows audio devices and the audio thread. Refuses to know sockets and captions. Nothing is lost in
silence: a block that follows a loss says how many samples are missing, or that the device itself
could not keep up.

PortAudio is loaded at the first use, so that everything else works on a machine without it.
"""

import asyncio
import importlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, cast

import numpy as np
import soxr
from numpy.typing import NDArray

from steno.streaming.decoded_audio import SAMPLE_RATE_HZ, Samples


class MicrophoneError(Exception):
    """The microphone cannot be used; the text tells why and what to try."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """One device that can record. `index` or `name` selects it."""

    index: int
    name: str
    host_api: str
    channels: int
    rate_hz: int
    is_default: bool


@dataclass(frozen=True, slots=True)
class MicrophoneBlock:
    """Consecutive samples, float32 mono 16 kHz, shape [N], and what was lost just before them."""

    samples: Samples
    dropped_samples: int  # 16 kHz samples thrown away because nobody took them in time
    device_overflow: bool  # the device reported a loss of its own, of unknown length


class CallbackFlags(Protocol):
    @property
    def input_overflow(self) -> bool: ...


class InputStream(Protocol):
    def start(self) -> None: ...
    def close(self) -> None: ...


AudioCallback = Callable[[NDArray[np.float32], int, object, CallbackFlags], None]


class SoundDevice(Protocol):
    """The part of the sounddevice module that is used here."""

    @property
    def PortAudioError(self) -> type[Exception]: ...
    def query_devices(self) -> Sequence[Mapping[str, object]]: ...
    def query_hostapis(self) -> Sequence[Mapping[str, object]]: ...
    def check_input_settings(self, *, device: int | str | None, channels: int, dtype: str, samplerate: int) -> None: ...
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
    ) -> InputStream: ...


def load_sounddevice() -> SoundDevice:
    """The sounddevice module. Raises MicrophoneError where PortAudio or the module is missing."""
    try:
        return cast(SoundDevice, importlib.import_module("sounddevice"))
    except OSError as error:
        raise MicrophoneError(
            f"PortAudio is not installed ({error}); on Debian and Ubuntu: apt install libportaudio2"
        ) from error
    except ImportError as error:
        raise MicrophoneError(f"the Python package sounddevice is missing ({error})") from error


def input_devices(sound: SoundDevice) -> tuple[InputDevice, ...]:
    """Every device that has an input channel, in PortAudio's order. Raises MicrophoneError."""
    try:
        devices, host_apis = sound.query_devices(), sound.query_hostapis()
    except sound.PortAudioError as error:
        raise MicrophoneError(f"the audio devices cannot be listed: {error}") from error
    defaults = {_int(api["default_input_device"]) for api in host_apis[:1]}
    return tuple(
        InputDevice(
            index=index,
            name=str(device["name"]),
            host_api=str(host_apis[_int(device["hostapi"])]["name"]),
            channels=_int(device["max_input_channels"]),
            rate_hz=_int(device["default_samplerate"]),
            is_default=index in defaults,
        )
        for index, device in enumerate(devices)
        if _int(device["max_input_channels"]) > 0
    )


class Microphone:
    """`async with Microphone(...) as microphone: async for block in microphone: ...`

    The queue holds `queue_s` seconds; when it is full the oldest block is dropped, so that captions
    stay with the speaker, and the next block carries the count. `device` is an index, a part of a
    name, or None for the default. Entering raises MicrophoneError when there is no such device;
    iterating raises it when the device stops.
    """

    def __init__(
        self,
        sound: SoundDevice,
        *,
        device: int | str | None = None,
        block_ms: int = 40,
        queue_s: float = 10.0,
    ) -> None:
        if block_ms < 1 or queue_s * 1000 < block_ms:
            raise ValueError(f"the queue of {queue_s} s must hold at least one block of {block_ms} ms")
        self._sound = sound
        self._device = device
        self._block_ms = block_ms
        self._queue = _BlockQueue(int(queue_s * 1000) // block_ms)
        self._arrived = asyncio.Event()
        self._stream: InputStream | None = None
        self._rate_hz = SAMPLE_RATE_HZ
        self._resampler: soxr.ResampleStream | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._arrived.set)

        def on_audio(indata: NDArray[np.float32], frames: int, time: object, status: CallbackFlags) -> None:
            if self._queue.put(indata[:, 0].copy(), overflow=status.input_overflow):
                wake()

        def on_finished() -> None:
            self._queue.finish()
            wake()

        try:
            self._rate_hz = self._choose_rate_hz()
            self._stream = self._sound.InputStream(
                device=self._device,
                channels=1,
                dtype="float32",
                samplerate=self._rate_hz,
                blocksize=self._rate_hz * self._block_ms // 1000,
                callback=on_audio,
                finished_callback=on_finished,
            )
            self._stream.start()
        except (self._sound.PortAudioError, ValueError) as error:
            raise MicrophoneError(
                f"{_device_words(self._device)} cannot record: {error}; `steno devices` lists what can"
            ) from error
        if self._rate_hz != SAMPLE_RATE_HZ:
            self._resampler = soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MicrophoneBlock:
        while True:
            taken = self._queue.take()
            if taken is not None:
                return self._to_16_khz(*taken)
            if self._queue.finished:
                raise MicrophoneError(f"{_device_words(self._device)} stopped delivering audio")
            # Clearing before the second look: a block that arrives in between sets the event again.
            self._arrived.clear()
            if self._queue.empty and not self._queue.finished:
                await self._arrived.wait()

    def _choose_rate_hz(self) -> int:
        """16 kHz where the device takes it, else the device's own rate, resampled here."""
        try:
            self._sound.check_input_settings(
                device=self._device, channels=1, dtype="float32", samplerate=SAMPLE_RATE_HZ
            )
        except self._sound.PortAudioError:
            chosen = [d for d in input_devices(self._sound) if _selects(self._device, d)]
            if not chosen:
                raise
            return chosen[0].rate_hz
        return SAMPLE_RATE_HZ

    def _to_16_khz(self, samples: Samples, dropped_samples: int, overflow: bool) -> MicrophoneBlock:
        if self._resampler is not None:
            samples = np.asarray(self._resampler.resample_chunk(samples), dtype=np.float32)
        dropped_samples = round(dropped_samples * SAMPLE_RATE_HZ / self._rate_hz)
        return MicrophoneBlock(samples, dropped_samples, overflow)


class _BlockQueue:
    """What the audio thread and the event loop share: at most `limit` blocks, the oldest goes
    first.

    The lock is held for a few instructions only; PortAudio's callback must never wait for long.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._blocks: deque[tuple[Samples, bool]] = deque()
        self._dropped_samples = 0
        self._finished = False

    @property
    def empty(self) -> bool:
        with self._lock:
            return not self._blocks

    @property
    def finished(self) -> bool:
        with self._lock:
            return self._finished

    def put(self, samples: Samples, *, overflow: bool) -> bool:
        """Whether the queue was empty before, which is when its reader may be asleep."""
        with self._lock:
            was_empty = not self._blocks
            if len(self._blocks) == self._limit:
                oldest, lost_before = self._blocks.popleft()
                self._dropped_samples += len(oldest)
                overflow = overflow or lost_before
            self._blocks.append((samples, overflow))
            return was_empty

    def take(self) -> tuple[Samples, int, bool] | None:
        """The oldest block, the samples dropped before it and the device's overflow flag."""
        with self._lock:
            if not self._blocks:
                return None
            samples, overflow = self._blocks.popleft()
            dropped, self._dropped_samples = self._dropped_samples, 0
            return samples, dropped, overflow

    def finish(self) -> None:
        with self._lock:
            self._finished = True


def _selects(wanted: int | str | None, device: InputDevice) -> bool:
    if wanted is None:
        return device.is_default
    if isinstance(wanted, int):
        return device.index == wanted
    return wanted.lower() in device.name.lower()


def _device_words(device: int | str | None) -> str:
    return "the default microphone" if device is None else f"the microphone {device!r}"


def _int(value: object) -> int:
    """A field of a PortAudio dictionary, where rates come as floats."""
    if not isinstance(value, int | float):
        raise MicrophoneError(f"PortAudio gave {value!r} where a number was expected")
    return int(value)
