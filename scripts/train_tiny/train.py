"""Second of the three commands: a pack in, a checkpoint in the official layout out.

    python -m scripts.train_tiny.train --data build/tiny-data --run build/tiny-run --minutes 120

Stops after `--minutes` of training in all (sittings add up) or at SIGTERM / Ctrl-C, and goes on from
RUN/state.pt when started again. Writes RUN/log.jsonl and, at each check, RUN/checkpoint/ from the
averaged weights.
"""

import argparse
import copy
import json
import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from steno.models.config import AttentionMode, parse_config

from .architecture import BINS, LEFT_CONTEXT_S, config_values, write_checkpoint
from .augment import FeatureMaker
from .dev_check import DevCheck
from .examples import ExampleStream, Prompt
from .model import AttentionPlan, Batch, TrainingModel
from .pack import Pack
from .phonemes import Pronunciations
from .planner import Recipe
from .thread_choice import ThreadChoice
from .vocabulary import load_vocabulary


@dataclass(frozen=True, slots=True)
class Stage:
    """A recipe, held until the averaged phoneme loss falls below `until_loss` or, at the latest, until
    `until_progress` (0..1) of the training."""

    recipe: Recipe
    until_loss: float
    until_progress: float
    with_decoder: bool
    frames: float = 0.0  # weight of the rough frame labels


_FEW_WORDS = ("fsdd", "moonshine", "alnum", "pv-intent", "pv-wake", "ovos-ww", "synthetic")
# Short clips of the small vocabularies and the CTC losses first: the decoder learns little before
# the encoder hears.
STAGES = [
    Stage(Recipe(3.0, 24, strength=0.3, voice=0.3, sources=_FEW_WORDS), 1.3, 0.15, with_decoder=False, frames=1.0),
    Stage(Recipe(6.0, 32, strength=0.5, voice=0.5, sources=_FEW_WORDS), 0.6, 0.25, with_decoder=True, frames=0.5),
    Stage(Recipe(26.0, 40, strength=0.4, voice=1.0), 0.0, 2.0, with_decoder=True, frames=0.3),
]
WARMUP_STEPS = 300
COOLING = 0.35  # the last part of the training, in which the rate falls to nothing
EMA_DECAY = 0.999


class Trainer:
    """Owns the weights, their average, the optimiser and the clock of the training."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._device = torch.device(options.device)
        self._vocabulary = options.data / "tokenizer"
        self._tokenizer = load_vocabulary(self._vocabulary)
        config = parse_config(config_values(self._tokenizer))
        self._pronunciations = Pronunciations.read(options.data / "phonemes.json")
        torch.manual_seed(options.seed)
        self._model = TrainingModel(config, self._pronunciations.size, options.dropout).to(self._device)
        if self._device.type == "cpu":
            for module in self._model.network.audio_tower.modules():
                if isinstance(module, torch.nn.Conv2d):
                    module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        self._average = copy.deepcopy(self._model).eval().requires_grad_(False)
        decayed = [p for p in self._model.parameters() if p.ndim > 1]
        other = [p for p in self._model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": other, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)
        self._step = 0
        self._trained_s = 0.0
        self._loss = 5.0  # running average of the phoneme loss
        self._stage = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._stop = False
        self._rng = random.Random(options.seed)
        options.run.mkdir(parents=True, exist_ok=True)
        self._state_path = options.run / "state.pt"
        if self._state_path.exists():
            self._restore()
        elif options.start_from is not None:
            weights = torch.load(options.start_from, map_location=self._device, weights_only=True)["model"]
            self._model.load_state_dict(weights, strict=False)
            self._average.load_state_dict(self._model.state_dict())

    @property
    def progress(self) -> float:
        return self._trained_s / float(self._options.minutes * 60)

    def stop(self, *_: object) -> None:
        self._stop = True

    def run(self) -> None:
        options = self._options
        pack = Pack(options.data / "pack")
        prompt = Prompt(self._tokenizer, ["none"], self._pronunciations)
        check = DevCheck(pack, FeatureMaker(BINS), prompt, self._tokenizer, options.dev_clips)
        stream = ExampleStream(
            options.data,
            BINS,
            [stage.recipe for stage in STAGES],
            self._stage,
            options.seed + self._step,
            options.data / "alignments.jsonl",
        )
        loader = iter(
            DataLoader(
                stream,
                batch_size=None,
                num_workers=options.workers,
                prefetch_factor=6 if options.workers else None,
                multiprocessing_context="fork" if options.workers else None,
                worker_init_fn=_leave_interrupts,
            )
        )
        threads = ThreadChoice(tuple(range(1, options.threads + 1)))
        next_check = self._trained_s + (60 * options.check_minutes if self._step else 120)
        next_save = self._trained_s + 180
        sums = [0.0] * 7  # of each loss, seconds of audio, seconds waited for data
        logged, logged_at = self._step, self._trained_s
        while not self._stop and self.progress < 1.0 and self._step < options.steps:
            began = time.monotonic()
            batch: Batch = next(loader)
            waited = time.monotonic() - began
            losses = self._train(batch.to(self._device))
            self._trained_s += time.monotonic() - began
            audio_s = float(batch.tokens.sum()) / 13
            for i, value in enumerate((*losses, audio_s, waited)):
                sums[i] += value
            if self._step - logged >= options.log_steps:
                count, spent = self._step - logged, self._trained_s - logged_at
                self._log(
                    step=self._step,
                    minutes=round(self._trained_s / 60, 2),
                    phonemes=round(sums[0] / count, 3),
                    frames=round(sums[1] / count, 3),
                    ctc=round(sums[2] / count, 3),
                    looking=round(sums[3] / count, 3),
                    answer=round(sums[4] / count, 3),
                    lr=round(self._rate(), 6),
                    speed=round(sums[5] / spent, 1),
                    threads=torch.get_num_threads(),
                    waiting=round(sums[6] / spent, 2),
                )
                torch.set_num_threads(threads.next(torch.get_num_threads(), sums[5] / spent))
                sums, logged, logged_at = [0.0] * 7, self._step, self._trained_s
            if self._trained_s > next_save:
                self._save()
                next_save = self._trained_s + 180
            if self._trained_s > next_check:
                self._check(check)
                next_check = self._trained_s + 60 * options.check_minutes
            self._move_stage()
        self._save()
        self._check(check)

    def _train(self, batch: Batch) -> list[float]:
        rate = self._rate()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        stage = STAGES[int(self._stage[0])]
        with_decoder = stage.with_decoder
        with torch.autocast(self._device.type, torch.bfloat16):
            losses = self._model.losses(batch, self._draw_plan(), with_decoder)
            loss = losses.phonemes + stage.frames * losses.frames + 0.5 * losses.ctc
            loss = loss + losses.looking + (1.0 if with_decoder else 0.3) * losses.answer
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 2.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._step += 1
        self._loss += 0.01 * (float(losses.phonemes.detach()) - self._loss)
        decay = min(EMA_DECAY, self._step / (self._step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.parameters()), list(self._model.parameters()), 1 - decay)
        return [float(x.detach()) for x in losses]

    def _draw_plan(self) -> AttentionPlan:
        mode: AttentionMode = "rolling" if self._rng.random() < 0.75 else "window"
        far = self._rng.random() < 0.6 and int(self._stage[0]) > 0
        first = self._rng.randrange(30) if far else 0
        return AttentionPlan(mode, self._rng.randint(1, 8), first)

    def _rate(self) -> float:
        peak = float(self._options.lr)
        if self._step < WARMUP_STEPS:
            return peak * (self._step + 1) / WARMUP_STEPS
        return peak * min(1.0, max(0.01, (1 - self.progress) / COOLING))

    def _move_stage(self) -> None:
        stage = STAGES[int(self._stage[0])]
        if self._loss < stage.until_loss or self.progress > stage.until_progress:
            self._stage += 1
            self._log(step=self._step, stage=int(self._stage[0]))

    def _check(self, check: DevCheck) -> None:
        began = time.monotonic()
        score = check.run(self._average, AttentionPlan("rolling", LEFT_CONTEXT_S))
        values: dict[str, Any] = {k: v for k, v in asdict(score).items() if k != "examples"}
        self._log(
            step=self._step,
            minutes=round(self._trained_s / 60, 2),
            dev=values,
            check_s=round(time.monotonic() - began, 1),
        )
        with open(self._options.run / "examples.txt", "w", encoding="utf-8") as out:
            out.writelines(f"{a}\n    {b}\n    {c}\n" for a, b, c in score.examples)
        write_checkpoint(
            self._options.run / "checkpoint",
            self._vocabulary,
            self._tokenizer,
            self._average.network.state_dict(),
        )

    def _log(self, **values: object) -> None:
        line = json.dumps(values)
        print(line, flush=True)
        with open(self._options.run / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self._step,
            "trained_s": self._trained_s,
            "stage": int(self._stage[0]),
            "loss": self._loss,
            "random": self._rng.getstate(),
        }
        fresh = self._state_path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self._state_path)

    def _restore(self) -> None:
        state = torch.load(self._state_path, map_location=self._device, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._trained_s = state["step"], state["trained_s"]
        self._stage[0], self._loss = state["stage"], state["loss"]
        version, internal, gauss = state["random"]
        self._rng.setstate((version, tuple(internal), gauss))


def _leave_interrupts(_worker: int) -> None:
    """Ctrl-C reaches the whole process group: the trainer stops by itself, and needs its loader until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="what prepare wrote")
    parser.add_argument("--run", type=Path, required=True, help="state, log and checkpoint go here")
    parser.add_argument("--start-from", type=Path, help="a state.pt whose weights a new run begins with")
    parser.add_argument("--minutes", type=float, default=120.0, help="of training, in all sittings")
    parser.add_argument("--steps", type=int, default=10**9, help="stop after so many")
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=2, help="at most; fewer where they are faster")
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dev-clips", type=int, default=24, help="per source, at each check")
    parser.add_argument("--check-minutes", type=float, default=6.0)
    parser.add_argument("--log-steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=4)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    trainer = Trainer(options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, trainer.stop)
    trainer.run()


if __name__ == "__main__":
    main()
