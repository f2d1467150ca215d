"""Advice about memory changes where pages lie, never what they hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from steno.models.host_memory import release_file_pages, use_huge_pages


def resident_file_kb() -> int:
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["RssFile"].split()[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_pages_of_a_mapped_file_are_let_go_and_come_back(tmp_path: Path) -> None:
    weights = torch.arange(4_000_000, dtype=torch.float32)
    save_file({"weight": weights}, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        mapped = file.get_tensor("weight")
    assert torch.equal(mapped, weights)  # now they are resident
    before = resident_file_kb()
    release_file_pages([mapped])
    assert resident_file_kb() < before - 10_000
    assert torch.equal(mapped, weights)
    before = resident_file_kb()
    release_file_pages([mapped])
    assert resident_file_kb() < before - 10_000, "not the second time"


def test_tensors_of_this_process_keep_their_contents() -> None:
    weights = torch.arange(1_000_000)
    release_file_pages([weights])
    use_huge_pages()
    assert torch.equal(weights, torch.arange(1_000_000))
