"""A function over fixed tensors, recorded once and replayed: no work of the host for each of its kernels.

A program reads and writes tensors that stay where they are. Capturing runs it plainly first (its eager twin, which also
chooses kernels), records it, replays it over the same inputs and compares: a graph that computes anything else than its
twin is an error at the start, not a wrong word later. Knows programs and a recorder; refuses to know what they compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Replay = Callable[[], object]


class GraphMismatch(RuntimeError):
    """A graph computed something else than the function that it was recorded from."""


class Program(Protocol):
    """`run` reads `inputs`, may change them, and leaves its results in `outputs`; all are allocated once."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...

    @property
    def outputs(self) -> Sequence[Tensor]: ...

    def run(self) -> None: ...


class Recorder(Protocol):
    """What turns a run into something that repeats it."""

    def record(self, run: Callable[[], None]) -> Replay: ...


@dataclass(slots=True)
class CudaRecorder:
    """CUDA graphs that share one pool of memory: their results are in tensors outside it, and one runs at a time."""

    device: torch.device
    _last: torch.cuda.CUDAGraph | None = None  # whose pool the next one shares

    def record(self, run: Callable[[], None]) -> Replay:
        with torch.cuda.device(self.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # libraries make their workspaces here, not in the recording
                run()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=None if self._last is None else self._last.pool()):
                run()
            self._last = graph
        return graph.replay


def capture(program: Program, recorder: Recorder) -> Replay:
    """Record `program`; its inputs are left as they were.

    Raises GraphMismatch when the replay's outputs are not the eager run's, bit for bit.
    """
    before = [tensor.clone() for tensor in program.inputs]
    program.run()
    expected = [tensor.clone() for tensor in program.outputs]
    _restore(program.inputs, before)
    replay = recorder.record(program.run)
    for tensor in program.outputs:
        tensor.zero_()
    _restore(program.inputs, before)
    replay()
    for index, (tensor, wanted) in enumerate(zip(program.outputs, expected, strict=True)):
        if not torch.equal(tensor, wanted):
            raise GraphMismatch(f"output {index} of the graph is not that of the eager run")
    _restore(program.inputs, before)
    return replay


def bucket(count: int, sizes: Sequence[int]) -> int | None:
    """The smallest of `sizes` (ascending) that holds `count`; None when none does."""
    return next((size for size in sizes if size >= count), None)


def _restore(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
