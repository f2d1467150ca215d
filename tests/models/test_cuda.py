"""What only a CUDA device can show: the attention kernel, the encoder over it, graphs that say what their twin says."""

from __future__ import annotations

import pytest
import torch

from scripts.gpu_checks import TOKENS
from scripts.gpu_model import Maker, distinct_clips
from steno.models.device_decoding import DeviceDecoder
from steno.models.packed_attention import FlashAttention, Lanes, PackedRows, ReferenceAttention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
MEMORY = 6 * 2**30


def _ints(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int32, device="cuda")


@pytest.mark.parametrize("heads", [(16, 8, 128), (4, 2, 16), (4, 4, 64)])
def test_the_attention_kernel_computes_what_the_plain_one_does(heads: tuple[int, int, int]) -> None:
    count, kv_heads, size = heads
    torch.manual_seed(0)
    keys, values = (torch.randn(2000, kv_heads, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    q = torch.randn(120, count, size, device="cuda", dtype=torch.bfloat16)
    counts, starts, used = [70, 49, 1], [640, 0, 1280], [300, 49, 601]
    rows = PackedRows(counts, starts, used, _ints(0, 70, 119, 120), _ints(*starts, 0), _ints(*used))
    lanes = Lanes(_ints(0, 1, 2, 3), _ints(*starts, 0), _ints(*used), 700)
    flash, plain = FlashAttention(), ReferenceAttention()
    packed = [each.rows(q, keys, values, rows) for each in (flash, plain)]
    single = [each.lanes(q[:3], keys, values, lanes) for each in (flash, plain)]
    torch.testing.assert_close(*packed, atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(*single, atol=2e-2, rtol=2e-2)


@torch.inference_mode()
def test_windows_of_any_lengths_are_those_of_float32() -> None:
    half = Maker("cuda", "bfloat16", tiny=True).recognizer("0.6b", "plain", memory=MEMORY).network.audio_tower
    lengths = [104, 1, 55, 104, 13]
    x = torch.randn(sum(lengths), half.config.hidden_size, device="cuda")
    found = half.encode_windows(x.bfloat16(), lengths).float()
    expected = half.float().encode_windows(x.bfloat16().float(), lengths)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_graphs_say_what_the_plain_run_says(dtype: str) -> None:
    recognizer = Maker("cuda", dtype, tiny=True).recognizer("0.6b", "plain", memory=MEMORY)
    recognizer.warm_up()
    graphed = recognizer.decoder
    assert isinstance(graphed, DeviceDecoder)
    assert graphed.graphs > 0
    clips = distinct_clips(5, 3.0)
    said = recognizer.transcribe(clips, max_new_tokens=TOKENS)
    assert recognizer.pool is not None
    recognizer.decoder = DeviceDecoder(recognizer.network, recognizer.pool, recognizer.prompt.end_ids)
    plainly = recognizer.transcribe(clips, max_new_tokens=TOKENS)
    assert [each.token_ids for each in said] == [each.token_ids for each in plainly]
