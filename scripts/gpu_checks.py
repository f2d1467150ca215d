"""Whether the accelerator says what it should: graphs, float32, streams and the attention kernel beside their twins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

import torch

from scripts.gpu_model import Maker, distinct_clips
from scripts.gpu_parts import Budget, Row
from steno.models.device_decoding import DeviceDecoder
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.packed_attention import FlashAttention, Lanes, PackedRows, ReferenceAttention, flash_fits
from steno.models.recognizer import Recognizer

TOKENS = 24  # said of each clip: random weights soon repeat themselves


def check(maker: Maker, budget: Budget) -> Iterator[Row]:
    """Each comparison and what came of it; those that the budget cut off are missing."""
    comparisons = {
        "graphs say what the eager twin says": graphs_equal_eager,
        "float32 here says what float32 on the CPU says": device_equals_cpu,
        "streamed finals say what offline says": streamed_equals_offline,
        "largest difference of the attention kernel": attention_error,
    }
    for name, compare in comparisons.items():
        if not budget.over:
            yield {"check": name, **compare(maker)}


def _ids(recognizer: Recognizer, clips: Sequence[Samples]) -> list[tuple[int, ...]]:
    return [each.token_ids for each in recognizer.transcribe(clips, max_new_tokens=TOKENS)]


def _clips(maker: Maker, longest_s: float) -> list[Samples]:
    """Of different lengths, `longest_s` at most."""
    whole = distinct_clips(4, longest_s)
    return [clip[: clip.size * (index + 2) // 5] for index, clip in enumerate(whole)]


def graphs_equal_eager(maker: Maker) -> Row:
    """In the device's own type: all graphs against a second recognizer over the same weights and slots without any."""
    recognizer = maker.recognizer("0.6b", "plain", memory=_some(maker))
    assert recognizer.pool is not None
    clips = _clips(maker, 3.0 if maker.tiny else 20.0)
    recognizer.warm_up()
    said = _ids(recognizer, clips)
    plain = Recognizer(recognizer.network, recognizer.tokenizer, name="plain", pool=recognizer.pool)
    plain.decoder = DeviceDecoder(plain.network, recognizer.pool, plain.prompt.end_ids)
    assert isinstance(recognizer.decoder, DeviceDecoder)
    equal = said == _ids(plain, clips)
    return {"equal": equal, "decode and pass graphs": recognizer.decoder.graphs, "tokens": sum(map(len, said))}


def device_equals_cpu(maker: Maker) -> Row:
    """The same weights; on the CPU with plain layers, growing slots and choices of the host."""
    made = maker.network("0.6b", "plain", dtype="float32", device="cpu")
    ours = made.on(maker.device).recognizer(_some(maker))
    theirs = Recognizer(made.network, made.tokenizer, name="on the CPU", mode=made.mode)
    clips = _clips(maker, 2.0 if maker.tiny else 5.0)
    said, expected = _ids(ours, clips), _ids(theirs, clips)
    return {"equal": said == expected, "tokens": sum(map(len, said))}


def streamed_equals_offline(maker: Maker) -> Row:
    """Updates each 0.5 s over windows of 2 s, all clips together, in float32."""
    recognizer = maker.recognizer("0.6b", "plain", dtype="float32", memory=_some(maker))
    clips = _clips(maker, 3.0 if maker.tiny else 12.0)
    expected = _ids(recognizer, clips)
    streams = [recognizer.open(max_new_tokens=TOKENS) for _ in clips]
    said: dict[int, tuple[int, ...]] = {}
    piece = SAMPLE_RATE // 2
    for start in range(0, max(clip.size for clip in clips) + piece, piece):
        going = [(index, stream) for index, stream in enumerate(streams) if index not in said]
        for index, stream in going:
            rest = clips[index][start : start + piece]
            recognizer.feed(stream, rest, final=start + piece >= clips[index].size)
        for (index, _), hypothesis in zip(going, recognizer.step([s for _, s in going]) if going else [], strict=True):
            if hypothesis.final:
                said[index] = hypothesis.token_ids
    for stream in streams:
        recognizer.close(stream)
    return {"equal": [said[index] for index in range(len(clips))] == expected, "tokens": sum(map(len, expected))}


@torch.inference_mode()
def attention_error(maker: Maker) -> Row:
    """The packed kernel against the plain attention of rows and lanes, where there is one."""
    device = torch.device(maker.device)
    generator = torch.Generator(device).manual_seed(1)
    keys, values, q = (
        torch.randn(shape, generator=generator, device=device, dtype=torch.bfloat16)
        for shape in ((4000, 8, 128), (4000, 8, 128), (200, 16, 128))
    )
    if not flash_fits(keys):
        return {"skipped": "the kernel is for CUDA"}

    def ints(numbers: Sequence[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=device)

    counts, starts, used = [150, 49, 1], [640, 0, 2560], [400, 49, 641]
    rows = PackedRows(counts, starts, used, ints([0, 150, 199, 200]), ints([*starts, 0]), ints(used))
    lanes = Lanes(ints(range(4)), ints([*starts, 0]), ints(used), 1000)
    flash, plain = FlashAttention(), ReferenceAttention()
    packed = flash.rows(q, keys, values, rows) - plain.rows(q, keys, values, rows)
    single = flash.lanes(q[:3], keys, values, lanes) - plain.lanes(q[:3], keys, values, lanes)
    return {"rows": float(packed.abs().max()), "lanes": float(single.abs().max())}


def _some(maker: Maker) -> int | None:
    """Slots enough for the checks, and room beside them."""
    return 20 * 2**30 if maker.device.startswith("cuda") else None


def memory_of(maker: Maker, size: str, memory: int) -> Row:
    """Serve at the cap in this process: what the device says was taken of it, at the most. CUDA only."""
    free_before, total = torch.cuda.mem_get_info()
    recognizer = maker.recognizer(size, "plain", memory=memory)
    recognizer.warm_up()
    slots = recognizer.slots or 0
    clips = distinct_clips(min(slots, 128), 28.0)
    streams = [recognizer.open(max_new_tokens=4 * 28) for _ in clips]
    for stream, samples in zip(streams, clips, strict=True):
        recognizer.feed(stream, samples, final=True)
    recognizer.step(streams)
    free_after, _ = torch.cuda.mem_get_info()
    return {
        "size": size,
        "cap_gib": memory / 2**30,
        "slots": slots,
        "streams": len(streams),
        "taken_gib": (total - free_after) / 2**30,
        "taken_before_gib": (total - free_before) / 2**30,  # the context of CUDA, and others
        "tensors_gib": torch.cuda.max_memory_allocated() / 2**30,
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30,
    }


def memory_apart(size: str, budget: Budget) -> Iterator[Row]:
    """`memory_of` in a process of its own, for the cap holds for a whole process."""
    command = [sys.executable, "-m", "scripts.bench_gpu", "--memory-of", size]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=max(1.0, budget.left_s))
    yield json.loads(done.stdout.splitlines()[-1])
