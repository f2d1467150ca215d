"""A recorded run is compared with its eager twin; on a device it is, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from steno.models.graphs import CudaRecorder, GraphMismatch, Replay, bucket, capture


class Counting:
    """A program that changes its input: y = x + 1, x = 2 x."""

    def __init__(self, device: str = "cpu") -> None:
        self.x = torch.arange(4.0, device=device)
        self.y = torch.zeros(4, device=device)
        self.runs = 0

    @property
    def inputs(self) -> list[Tensor]:
        return [self.x]

    @property
    def outputs(self) -> list[Tensor]:
        return [self.y, self.x]

    def run(self) -> None:
        self.runs += 1
        self.y.copy_(self.x + 1)
        self.x.mul_(2)


class FakeRecorder:
    """Runs once while it records, as a recorder may, and repeats what it is given."""

    def __init__(self, wrong: bool = False) -> None:
        self._wrong = wrong
        self.recorded = 0

    def record(self, run: Callable[[], None]) -> Replay:
        self.recorded += 1
        run()
        return (lambda: None) if self._wrong else run


def test_a_capture_leaves_the_inputs_alone_and_replays_the_run() -> None:
    program, recorder = Counting(), FakeRecorder()
    replay = capture(program, recorder)
    assert recorder.recorded == 1
    assert program.x.tolist() == [0, 1, 2, 3]
    program.x.fill_(5)
    replay()
    assert program.y.tolist() == [6] * 4
    assert program.x.tolist() == [10] * 4


def test_a_graph_that_computes_something_else_is_refused() -> None:
    with pytest.raises(GraphMismatch, match="output 0"):
        capture(Counting(), FakeRecorder(wrong=True))


def test_the_smallest_bucket_that_holds_the_count() -> None:
    assert [bucket(count, (1, 4, 8)) for count in (1, 2, 4, 5, 8, 9)] == [1, 4, 4, 8, 8, None]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_of_one_recorder_share_their_memory_and_keep_apart() -> None:
    recorder = CudaRecorder(torch.device("cuda", 0))
    first, second = Counting("cuda"), Counting("cuda")
    replays = [capture(program, recorder) for program in (first, second)]
    runs = first.runs
    first.x.fill_(1)
    second.x.fill_(3)
    for replay in replays:
        replay()
    assert first.y.tolist() == [2] * 4
    assert second.y.tolist() == [4] * 4
    assert first.runs == runs
