"""Parts of the accelerator's path against its ceilings, all measured in the same run.

Ceilings: bytes that a large copy moves, operations of a large matrix product. Then one step of the self-feeding decode
by batch and context, the packed prefill by tokens, the encoder by windows; each with the share of the ceiling that it
reaches, counting only what it must move or compute at least.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import torch

from scripts.gpu_model import Maker, synchronize
from scripts.gpu_parts import Budget, Row
from steno.models.decoding import DecodeRow, RowInput
from steno.models.device_decoding import DeviceDecoder
from steno.models.network import Network
from steno.models.recognizer import Recognizer
from steno.models.slot_pool import SLOT_TOKENS, SlotPool, bytes_per_token

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTEXTS = (128, 470, 620)
PREFILLS = ((1, 153), (8, 153), (64, 153), (1, 405), (16, 405), (64, 405))  # rows and tokens of each
WINDOWS = (1, 8, 64, 128)
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Ceilings:
    copy_bytes_per_s: float
    matrix_flop_per_s: float


@dataclass(frozen=True, slots=True)
class Timing:
    """`share`: of `bound`'s ceiling, by what must be moved or computed at least."""

    what: str
    ms: float
    share: float
    bound: str


def timed(run: Callable[[], object], device: str, repeats: int = REPEATS) -> float:
    """Seconds of one run, the mean after one that is not counted."""
    run()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def ceilings(maker: Maker) -> Ceilings:
    size, width = (2**20, 256) if maker.tiny else (2**31, 8192)
    source = torch.zeros(size, dtype=torch.uint8, device=maker.device)
    target = torch.empty_like(source)
    copy_s = timed(lambda: target.copy_(source), maker.device)
    dtype = torch.bfloat16 if maker.device.startswith("cuda") else torch.float32
    left = torch.randn(width, width, device=maker.device, dtype=dtype)
    right = torch.randn(width, width, device=maker.device, dtype=dtype)
    product_s = timed(lambda: left @ right, maker.device)
    return Ceilings(2 * size / copy_s, 2 * width**3 / product_s)


def weight_numbers(network: Network) -> tuple[int, int]:
    """Parameters of the decoder's layers and of its head."""
    layers = sum(parameter.numel() for parameter in network.model.layers.parameters())
    return layers, network.get_parameter("lm_head.weight").numel()


def micro(maker: Maker, recognizer: Recognizer, budget: Budget) -> Iterator[Row]:
    """Everything that the budget allows; `recognizer` lends its network and its slots, of which none is open."""
    network, pool, decoder = recognizer.network, recognizer.pool, recognizer.decoder
    assert pool is not None
    assert isinstance(decoder, DeviceDecoder)
    limits = ceilings(maker)
    most = 4 if maker.tiny else max(BATCHES)
    yield {"what": "ceilings", **asdict(limits)}
    measures = [
        *(partial(decode_step, maker, decoder, pool, limits, b, c) for b in BATCHES if b <= most for c in CONTEXTS),
        *(partial(prefill, maker, decoder, pool, limits, r, t) for r, t in PREFILLS if r <= most),
        *(partial(windows, maker, network, limits, w) for w in WINDOWS if w <= most),
    ]
    for measure in measures:
        if not budget.over:
            yield asdict(measure())
    yield {"what": "graphs of decoding and passes", "count": decoder.graphs}


@torch.inference_mode()
def decode_step(
    maker: Maker, decoder: DeviceDecoder, pool: SlotPool, limits: Ceilings, batch: int, context: int
) -> Timing:
    """One token for each of `batch` rows that hold `context` tokens."""
    network = decoder.network
    lanes, replay = decoder.lanes_for(batch, SLOT_TOKENS)
    columns = [[1] * batch, [context] * batch, pool.free_starts()[:batch], [SLOT_TOKENS - context] * batch]
    seats = [torch.tensor(column, device=network.device) for column in columns]

    def run() -> None:
        lanes.seat(*seats)
        replay()

    step_s = timed(run, maker.device) / lanes.steps
    numbers = sum(weight_numbers(network)) * network.dtype.itemsize
    moved = numbers + batch * context * bytes_per_token(network.config.decoder, pool.dtype)
    share = moved / step_s / limits.copy_bytes_per_s
    return Timing(f"decode step, batch {batch}, context {context}", step_s * 1e3, share, "memory")


@torch.inference_mode()
def prefill(maker: Maker, decoder: DeviceDecoder, pool: SlotPool, limits: Ceilings, rows: int, tokens: int) -> Timing:
    """A packed pass over `rows` inputs, and the first token of each."""
    network = decoder.network
    slots = [pool.open() for _ in range(rows)]

    def run() -> None:
        decoder.decode([DecodeRow(slot, 1) for slot in slots], [RowInput([1] * tokens)] * rows)
        for slot in slots:
            pool.truncate(slot, 0)

    pass_s = timed(run, maker.device)
    for slot in slots:
        pool.close(slot)
    layers, head = weight_numbers(network)
    share = 2 * rows * (layers * tokens + head) / pass_s / limits.matrix_flop_per_s
    return Timing(f"prefill, {rows} x {tokens} tokens", pass_s * 1e3, share, "matrix")


@torch.inference_mode()
def windows(maker: Maker, network: Network, limits: Ceilings, count: int) -> Timing:
    """Stem, layers and projector of `count` whole windows."""
    tower = network.audio_tower
    config = tower.config
    chunks = config.window_frames // config.chunk_frames
    frames = torch.randn(count * chunks, config.mel_bins, config.chunk_frames, device=network.device)

    def run() -> None:
        tower.encode_windows(tower.stem(frames).flatten(0, 1), [config.window_tokens] * count)

    run_s = timed(run, maker.device)
    numbers = sum(parameter.numel() for parameter in tower.layers.parameters())
    share = 2 * numbers * count * config.window_tokens / run_s / limits.matrix_flop_per_s
    return Timing(f"encoder, {count} windows (share: layers alone)", run_s * 1e3, share, "matrix")
