"""Write tests/golden: a very small random checkpoint, two seconds of speech, and what `transformers` makes of them.

    python -m scripts.make_golden tests/golden --speech tests/audio/lj_printing.opus

The tests compare steno with these numbers where `transformers` is not installed, and notice when both change together.
Weights and audio are stored rather than made again, since random numbers and audio decoders differ between machines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import wave
from pathlib import Path

import numpy as np
import torch
import transformers

from scripts.make_checkpoint import Size, write_checkpoint
from steno.client.audio import read_audio, to_pcm16
from tests.models.reference import Reference, features

GOLDEN = Size(
    audio_hidden=16,
    audio_layers=2,
    audio_heads=2,
    audio_ffn=24,
    hidden=24,
    intermediate=40,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    vocab=480,
    positions=1024,
    conv_channels=4,
)
START_S, LENGTH_S = 0.4, 2.37
MEL_FRAMES = (0, 1, 57, 120, 235, 236)  # the first and last two hear the reflected edges
STEPS = 16
PROMPTS: tuple[tuple[str, str | None], ...] = (("", None), ("Aldus; 早上好", None), ("", "English"))


def rounded(values: torch.Tensor) -> object:
    """Nested lists with 8 significant digits."""
    return json.loads(json.dumps(values.tolist()), parse_float=lambda text: float(f"{float(text):.8g}"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the golden numbers of the tests.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--speech", type=Path, required=True)
    arguments = parser.parse_args()
    folder: Path = arguments.folder

    cut = read_audio(arguments.speech)[round(START_S * 16_000) :][: round(LENGTH_S * 16_000)]
    pcm = to_pcm16(cut)
    folder.mkdir(parents=True, exist_ok=True)
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        file.writeframes(pcm)
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) * np.float32(1 / 32768)

    write_checkpoint(folder / "checkpoint", GOLDEN, "official", dtype=torch.bfloat16)
    with tempfile.TemporaryDirectory() as native, torch.inference_mode():
        reference = Reference(write_checkpoint(Path(native), GOLDEN, "native", dtype=torch.bfloat16))
        mel = features(samples)[0][0]
        answers = []
        for context, language in PROMPTS:
            greedy = reference.greedy(samples, STEPS, context, language)
            best = greedy.logits.max(1).values
            spread = greedy.logits.logsumexp(1)
            answer = {"context": context, "language": language, "ids": greedy.ids}
            answers.append({**answer, "best_logits": rounded(best), "logsumexp": rounded(spread)})
        expected = {
            "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}",
            "frames": int(features(samples)[1].sum()),
            "mel": {str(frame): rounded(mel[:, frame]) for frame in MEL_FRAMES},
            "encoder": rounded(reference.encode(samples)),
            "answers": answers,
        }
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
