"""The encoder's layers over packed windows, recorded for common sizes, as `recorded_pass` is for the decoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from .encoder import AudioEncoder
from .graphs import GraphMismatch, Recorder, Replay, bucket, capture
from .upload import upload

logger = logging.getLogger(__name__)

WINDOWS = (1, 2, 4, 8, 16, 32)  # whole ones; their tokens may be those of more windows that are not


class WindowsProgram:
    """As many tokens as `windows` whole windows have, in up to four times as many windows. A graph's `Program`."""

    def __init__(self, encoder: AudioEncoder, windows: int) -> None:
        config, weight = encoder.config, encoder.ln_post.weight
        tokens = windows * config.window_tokens
        self._encoder = encoder
        self._longest = config.window_tokens
        self._filled = tokens
        self._x = torch.zeros(tokens, config.hidden_size, dtype=weight.dtype, device=weight.device)
        self._ends = torch.zeros(4 * windows + 1, dtype=torch.int32, device=weight.device)
        self._encoded = torch.zeros(tokens, config.output_size, dtype=weight.dtype, device=weight.device)

    @property
    def most_windows(self) -> int:
        return self._ends.shape[0] - 1

    @property
    def inputs(self) -> list[Tensor]:
        return [self._x, self._ends]

    @property
    def outputs(self) -> list[Tensor]:
        return [self._encoded[: self._filled]]

    def load(self, x: Tensor, lengths: Sequence[int]) -> None:
        """x `[sum(lengths), hidden]`; as many lengths as there may be windows."""
        ends = [sum(lengths[:index]) for index in range(len(lengths) + 1)]
        ends += [ends[-1]] * (self._ends.shape[0] - len(ends))
        (sent,) = upload([ends], self._x.device)
        self._filled = x.shape[0]
        self._x[: self._filled].copy_(x)
        self._ends.copy_(sent)

    def run(self) -> None:
        self._encoded.copy_(self._encoder.run_windows(self._x, self._ends, self._longest))


class RecordedWindows:
    """Programs by size, recorded when warmed up."""

    def __init__(self, encoder: AudioEncoder, recorder: Recorder, sizes: Sequence[int] = WINDOWS) -> None:
        self._encoder = encoder
        self._recorder = recorder
        self._sizes = sizes
        self._programs: dict[int, tuple[WindowsProgram, Replay]] = {}

    @property
    def graphs(self) -> int:
        return len(self._programs)

    @torch.inference_mode()
    def warm_up(self) -> None:
        config = self._encoder.config
        generator = torch.Generator().manual_seed(0)
        for windows in reversed(self._sizes):
            if windows in self._programs:
                continue
            program = WindowsProgram(self._encoder, windows)
            x = torch.randn(windows * config.window_tokens, config.hidden_size, generator=generator)
            program.load(x.to(self._encoder.ln_post.weight.device), [config.window_tokens] * windows)
            try:
                self._programs[windows] = (program, capture(program, self._recorder))
            except GraphMismatch:
                logger.exception("the graph of %d encoder windows is not used", windows)

    def encode(self, x: Tensor, lengths: Sequence[int]) -> Tensor | None:
        """As `AudioEncoder.encode_windows`; None where no program fits."""
        size = bucket(-(-x.shape[0] // self._encoder.config.window_tokens), self._sizes)
        if size not in self._programs:
            return None
        program, replay = self._programs[size]
        if len(lengths) > program.most_windows:
            return None
        program.load(x, lengths)
        replay()
        return program.outputs[0].clone()  # the next step writes over it
