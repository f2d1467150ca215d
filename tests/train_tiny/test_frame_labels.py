"""Frame labels: exact where phonemes are timed, spread evenly over short clips, none where unsure."""

import json
from pathlib import Path

import numpy as np
import pytest

from scripts.train_tiny.frame_labels import FrameLabels
from scripts.train_tiny.model import IGNORED
from scripts.train_tiny.pack import Pack, PackWriter
from scripts.train_tiny.phonemes import Pronunciations
from scripts.train_tiny.plans import Piece, Plan

PRONUNCIATIONS = Pronunciations({"English": {"no": ["n", "oU"]}})
N, OU = 0, 1
BLANK = PRONUNCIATIONS.size
SECOND = 16_000


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """One clip: 0.26 s of silence, 0.48 s of tone, silence to 1 s."""
    samples = np.zeros(SECOND, dtype=np.float32)
    samples[4_160:11_840] = 0.5
    with PackWriter(tmp_path) as writer:
        writer.add(
            samples, id="a", text="no", language="English", speaker="s", source="x", kind="", split="train", licence=""
        )
    return Pack(tmp_path)


def _plan(speed: float = 1.0, gap: int = 0, text: str = "no") -> Plan:
    piece = Piece(0, SECOND, ("no",), (SECOND,))
    return Plan((piece,), (gap,), 0, speed, text, "English", int((SECOND + gap) / speed))


def test_a_short_clip_is_divided_evenly(pack: Pack) -> None:
    labels = FrameLabels(pack, PRONUNCIATIONS).labels(_plan(), 13)
    assert labels.shape == (39,)
    assert list(labels[:9]) == [BLANK] * 9
    assert list(labels[10:18]) == [N] * 8
    assert list(labels[19:27]) == [OU] * 8
    assert list(labels[28:]) == [BLANK] * 11


def test_gap_and_speed_move_the_labels(pack: Pack) -> None:
    labels = FrameLabels(pack, PRONUNCIATIONS).labels(_plan(speed=2.0, gap=SECOND), 13)
    first = int(np.flatnonzero(labels == N)[0])
    assert first == pytest.approx((1.0 + 0.26) / 2 / 0.08 * 3, abs=1)


def test_known_times_are_taken_as_they_are(pack: Pack) -> None:
    times = [["_:", 0], ["n", 8_000], ["?", 9_600], ["oU", 12_800]]
    (pack.folder / "phoneme_times.jsonl").write_text(json.dumps({"start": 0, "phonemes": times}) + "\n")
    labels = FrameLabels(pack, PRONUNCIATIONS).labels(_plan(), 13)
    assert set(labels[:18]) == {BLANK}
    assert set(labels[19:22]) == {N}
    assert set(labels[23:29]) == {IGNORED}  # a phoneme that no transcript has
    assert set(labels[30:36]) == {OU}


def test_a_cut_clip_has_no_labels(pack: Pack) -> None:
    assert set(FrameLabels(pack, PRONUNCIATIONS).labels(_plan(text=""), 13)) == {IGNORED}
