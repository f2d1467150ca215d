"""Offline transcription: load time, real-time factor and peak memory, steno beside `transformers`, as JSON.

    python scripts/bench_offline.py --random 0.6b [--folder build/random] [--dtype bfloat16] [--device cpu]
    python scripts/bench_offline.py --official FOLDER [--native FOLDER]

`--random` makes a true-size random checkpoint in both layouts first, unless FOLDER holds it already. Each engine runs
in its own process, so that peaks of memory are apart; weights are read before, so that loading is from page cache.
Both get the same prompt and generate the same number of tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from steno.client.audio import read_audio
from steno.models.mel import SAMPLE_RATE, Samples
from steno.models.prompt import Prompt
from steno.models.recognizer import Recognizer

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_AUDIO = REPOSITORY / "tests" / "audio" / "lj_printing.opus"
MB = 1e6


def make_random(size: str, folder: Path) -> dict[str, Path]:
    """Folder of each layout of a true-size random checkpoint, made where it is not there yet."""
    made = {}
    for layout in ("official", "native"):
        target = folder / f"{size}-{layout}"
        if not (target / "model.safetensors").is_file():
            script = Path(__file__).with_name("make_checkpoint.py")
            subprocess.run([sys.executable, script, target, "--size", size, "--layout", layout], check=True)
        made[layout] = target
    return made


def read_once(folder: Path) -> int:
    """Bring the weights into the page cache; returns their bytes."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb", buffering=0) as file:
            while block := file.read(1 << 24):
                total += len(block)
    return total


@dataclass(frozen=True, slots=True)
class Lap:
    """`wall_s` passed, `cpu_s` were spent by all threads: far apart when others use the machine."""

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Laps of this process; work on an accelerator is waited for."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self) -> Lap:
        """Time since the last lap."""
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        lap = Lap(round(wall - self._wall, 3), round(cpu - self._cpu, 3))
        self._wall, self._cpu = wall, cpu
        return lap


def memory(device: str) -> dict[str, float]:
    """Peaks of this process so far, in MB. Weights mapped from files count as resident once touched."""
    found: dict[str, float] = {"peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB)}
    if device.startswith("cuda"):
        found["peak_device_mb"] = round(torch.cuda.max_memory_allocated() / MB)
    return found


def report(seconds: float, load: Lap, runs: list[Lap], tokens: int, device: str) -> dict[str, object]:
    best = min(runs, key=lambda lap: lap.wall_s)
    return {
        "load": asdict(load),
        "runs": [asdict(lap) for lap in runs],
        "rtf": round(best.wall_s / seconds, 4),
        "cpu_rtf": round(min(lap.cpu_s for lap in runs) / seconds, 4),
        "tokens": tokens,
        **memory(device),
    }


def bench_steno(arguments: argparse.Namespace, samples: Samples) -> dict[str, object]:
    watch = Stopwatch(arguments.device)
    dtype = getattr(torch, arguments.dtype)
    recognizer = Recognizer.load(arguments.official, device=arguments.device, dtype=dtype)
    load = watch.lap()
    runs = []
    for _ in range(arguments.runs):
        watch.lap()
        transcription = recognizer.transcribe(samples, max_new_tokens=arguments.tokens)
        runs.append(watch.lap())
    seconds = samples.size / SAMPLE_RATE
    return report(seconds, load, runs, len(transcription.token_ids), arguments.device)


def bench_transformers(arguments: argparse.Namespace, samples: Samples) -> dict[str, object]:
    from transformers import Qwen3ASRFeatureExtractor, Qwen3ASRForConditionalGeneration

    from steno.models.checkpoint import load_config
    from steno.models.tokenizer import Tokenizer

    watch = Stopwatch(arguments.device)
    dtype = getattr(torch, arguments.dtype)
    model = Qwen3ASRForConditionalGeneration.from_pretrained(arguments.native, dtype=dtype).to(arguments.device).eval()
    load = watch.lap()
    config = load_config(arguments.native)
    prompt = Prompt(Tokenizer.load(arguments.native), config)
    extractor = Qwen3ASRFeatureExtractor()
    runs = []
    for _ in range(arguments.runs):
        watch.lap()
        features = extractor([samples], sampling_rate=SAMPLE_RATE, padding="longest", return_attention_mask=True)
        mask = features["attention_mask"]
        audio = [prompt.audio_pad_id] * config.encoder.tokens(int(mask.sum()))
        ids = torch.tensor([prompt.head("") + audio + prompt.suffix(None)])
        with torch.inference_mode():
            generated = model.generate(
                input_ids=ids.to(arguments.device),
                attention_mask=torch.ones_like(ids).to(arguments.device),
                input_features=features["input_features"].to(arguments.device, dtype),
                input_features_mask=mask.to(arguments.device),
                do_sample=False,
                max_new_tokens=arguments.tokens,
            )
        runs.append(watch.lap())
    answer = [token for token in generated[0, ids.shape[1] :].tolist() if token not in prompt.end_ids]
    return report(samples.size / SAMPLE_RATE, load, runs, len(answer), arguments.device)


ENGINES = {"steno": bench_steno, "transformers": bench_transformers}


def run_apart(engine: str, arguments: argparse.Namespace) -> dict[str, object]:
    """One engine in a process of its own."""
    passed = ("official", "native", "audio", "seconds", "dtype", "device", "tokens", "runs", "threads")
    command = [sys.executable, __file__, "--engine", engine]
    for name in passed:
        if getattr(arguments, name) is not None:
            command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time offline transcription, steno beside transformers.")
    parser.add_argument("--random", choices=("0.6b", "1.7b"), help="make a random checkpoint of this size")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "random", help="where --random puts it")
    parser.add_argument("--official", type=Path, help="checkpoint folder that steno loads")
    parser.add_argument("--native", type=Path, help="the same in transformers' layout; left out: steno alone")
    parser.add_argument("--audio", type=Path, default=DEFAULT_AUDIO)
    parser.add_argument("--seconds", type=float, default=10.0, help="how much of the audio")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=40, help="tokens to generate")
    parser.add_argument("--runs", type=int, default=2, help="transcriptions; the best counts")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--engine", choices=sorted(ENGINES), help="run this one only, in this process")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    samples = read_audio(arguments.audio)[: round(arguments.seconds * SAMPLE_RATE)]
    if arguments.engine:
        print(json.dumps(ENGINES[arguments.engine](arguments, samples)))
        return
    if arguments.random:
        made = make_random(arguments.random, arguments.folder)
        arguments.official, arguments.native = made["official"], made["native"]
    if arguments.official is None:
        sys.exit("bench_offline: expected --random SIZE or --official FOLDER")
    result: dict[str, object] = {
        "model": str(arguments.random or arguments.official),
        "audio_s": samples.size / SAMPLE_RATE,
        "device": arguments.device,
        "dtype": arguments.dtype,
        "threads": arguments.threads,
        "torch": torch.__version__,
    }
    for engine, folder in (("steno", arguments.official), ("transformers", arguments.native)):
        if folder is not None:
            result["weights_mb"] = round(read_once(folder) / MB)
            result[engine] = run_apart(engine, arguments)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
