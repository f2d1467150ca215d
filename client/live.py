"""A live run: audio goes to the server and captions come back at the same time, until both are over.

Knows the two halves and how they end. Refuses to know where audio comes from and what captions look like.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from steno.streaming.decoded_audio import SAMPLE_RATE_HZ
from steno.streaming.protocol import Final

from .audio import BLOCK_SAMPLES, paced, read_blocks
from .captions import Captions
from .client import Client
from .connection import ClientError
from .microphone import Microphone, MicrophoneBlock
from .subtitles import FORMATS


class LiveRun:
    """`await run()` once; `stop()` ends the audio early, and what was said until then still gets its finals."""

    def __init__(self, client: Client, audio: AsyncIterator[MicrophoneBlock], captions: Captions) -> None:
        """`client` is connected. `audio` may report losses; they become gaps of the stream, and a note."""
        self._client = client
        self._audio = audio
        self._captions = captions
        self._sending: asyncio.Task[None] | None = None
        self.finals: list[Final] = []
        """All finals so far, also after a failure."""
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        if self._sending is not None:
            self._sending.cancel()

    async def run(self) -> None:
        """Raises ClientError, and whatever the audio raises (after the finals of what came before it)."""
        self._sending = asyncio.create_task(self._send())
        try:
            async for event in self._client:
                if isinstance(event, Final):
                    self.finals.append(event)
                self._captions.show(event)
        finally:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        if not self._sending.cancelled():
            self._sending.result()

    async def _send(self) -> None:
        try:
            async for block in self._audio:
                if block.dropped_samples:
                    await self._client.skip(block.dropped_samples)
                    lost_s = block.dropped_samples / SAMPLE_RATE_HZ
                    self._captions.note(f"{lost_s:.1f} s of audio were lost: nothing took them in time")
                if block.device_overflow:
                    self._captions.note("the microphone lost audio: this computer is too busy")
                await self._client.send(block.samples)
        except ClientError:
            pass  # whoever reads the events gets the same error
        finally:
            with suppress(ClientError, ValueError):
                await self._client.finish()


async def file_blocks(source: Path | BinaryIO, *, speed: float) -> AsyncIterator[MicrophoneBlock]:
    """A file as a microphone would have heard it, `speed` times as fast. Raises AudioFileError."""
    async for samples in paced(read_blocks(source, block_samples=BLOCK_SAMPLES), speed=speed):
        yield MicrophoneBlock(samples, dropped_samples=0, device_overflow=False)


async def microphone_blocks(microphone: Microphone) -> AsyncIterator[MicrophoneBlock]:
    """What an open microphone hears. Raises MicrophoneError."""
    async for block in microphone:
        yield block


def check_audio_path(path: Path) -> None:
    """Find out before a server is asked for a session. Raises AudioFileError."""
    next(iter(read_blocks(path)))


def check_save_path(path: Path) -> None:
    """Find out before an hour of talk, not after it. Raises ValueError or OSError."""
    if path.suffix.lstrip(".").lower() not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise ValueError(f"cannot save as {path.name!r}: expected a name that ends in one of {known}")
    if not path.parent.is_dir():
        raise ValueError(f"cannot save as {path}: there is no folder {path.parent}")


def save(path: Path, finals: Iterable[Final]) -> None:
    """Write the finals in the format that the name's ending tells."""
    path.write_text(FORMATS[path.suffix.lstrip(".").lower()](finals), encoding="utf-8")
