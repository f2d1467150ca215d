"""Rows of a mapped weight are those of an embedding, and do not stay in memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from steno.models.file_rows import FileRows

from .test_host_memory import resident_file_kb


def _mapped(weight: Tensor, folder: Path) -> Tensor:
    save_file({"weight": weight}, folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        found: Tensor = file.get_tensor("weight")
    return found


@pytest.mark.parametrize("shape", [(0,), (1,), (15,), (16,), (40,), (3, 8)])
def test_rows_are_those_of_an_embedding(tmp_path: Path, shape: tuple[int, ...]) -> None:
    weight = torch.randn(1_000, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    ids = torch.randint(0, 1_000, shape, generator=torch.Generator().manual_seed(2))
    for held in (weight, _mapped(weight, tmp_path)):
        rows = FileRows(held)(ids)
        assert rows.shape == (*shape, 64)
        assert torch.equal(rows, F.embedding(ids, weight))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_rows_that_were_read_do_not_stay_in_memory(tmp_path: Path) -> None:
    rows = FileRows(_mapped(torch.zeros(40_000, 1_024, dtype=torch.bfloat16), tmp_path))  # 82 MB
    before = resident_file_kb()
    for start in range(0, 40_000, 500):
        rows(torch.arange(start, start + 500, 20))
    assert resident_file_kb() < before + 33_000
