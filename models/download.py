"""What a device chooses, on its way to the host in the order in which it was chosen.

Knows copies and when they are there. Refuses to know what is read from them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

Read = Callable[[list[int], list[float]], None]
"""Takes ids and log-probabilities."""


class Download:
    """A tensor being copied to the host. On CUDA the device runs on meanwhile, and so does the host until `wait`."""

    def __init__(self, values: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        if values.device.type != "cuda":
            self._host = values
            return
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._host.copy_(values, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record(torch.cuda.current_stream(values.device))

    def wait(self) -> Tensor:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host


class Choices:
    """Tokens under way, each lot with what reads it."""

    def __init__(self) -> None:
        self._coming: deque[tuple[Download, Read]] = deque()

    def expect(self, ids: Tensor, logprobs: Tensor, read: Read) -> None:
        """`ids` int64 and `logprobs` float32, both `[n]`: copied as they are now, whatever is written there later."""
        both = torch.stack((ids.double(), logprobs.double()))  # one copy; ids are exact in a double
        self._coming.append((Download(both), read))

    def read(self, *, keep: int = 0) -> None:
        """Read all but the last `keep` lots, waiting for them where they are not there yet."""
        while len(self._coming) > keep:
            download, read = self._coming.popleft()
            ids, logprobs = download.wait()
            read(ids.long().tolist(), logprobs.tolist())

    def forget(self) -> None:
        """What is still under way is not wanted."""
        self._coming.clear()
