"""The offline benchmark, on a tiny checkpoint: both engines run apart and report what is promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_both_engines_report_time_and_memory(tmp_path: Path) -> None:
    official = tiny_checkpoint(tmp_path / "official", seed=1, dtype=torch.bfloat16)
    native = tiny_checkpoint(tmp_path / "native", layout="native", seed=1, dtype=torch.bfloat16)
    command = [sys.executable, "scripts/bench_offline.py", "--official", str(official), "--native", str(native)]
    command += ["--seconds", "3", "--tokens", "8", "--threads", "1"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    assert result["audio_s"] == 3.0
    for engine in ("steno", "transformers"):
        measured = result[engine]
        assert measured["tokens"] == 8
        assert measured["rtf"] > 0
        assert measured["cpu_rtf"] > 0
        assert 50 < measured["peak_rss_mb"] < 4000
        assert len(measured["runs"]) == 2
