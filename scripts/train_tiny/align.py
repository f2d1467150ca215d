"""Optional, between two sittings of training: where the words of the train clips end.

    python -m scripts.train_tiny.align --data build/tiny-data --run build/tiny-run

Writes DATA/alignments.jsonl from the CTC head of RUN/state.pt. With it, `train` cuts sentences at
known words, and joins single words of the few people who read numbers and spell names.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steno.models.config import parse_config

from .architecture import BINS, config_values
from .augment import FeatureMaker
from .ctc_paths import best_paths
from .examples import ctc_text
from .model import AttentionPlan, TrainingModel
from .pack import Pack
from .phonemes import Pronunciations
from .vocabulary import load_vocabulary

SOURCES = ("alnum", "pv-intent", "asterisk-en", "asterisk-es")
SAMPLES_PER_TOKEN = 16_000 / 13
ENERGY_HOP = 160


def force_align(scores: Tensor, labels: list[int], blank: int) -> list[tuple[int, int]]:
    """(first, last) frame of each label on the best CTC path: log-probabilities `[T, classes]`.

    ValueError when T is too short for the labels.
    """
    frames, counts = torch.tensor([len(scores)]), torch.tensor([len(labels)])
    path = best_paths(scores[None], frames, torch.tensor([labels]), counts, blank)[0]
    places = [torch.nonzero(path == index)[:, 0].tolist() for index in range(len(labels))]
    if not all(places):
        raise ValueError(f"{len(scores)} frames are too few for {len(labels)} labels")
    return [(place[0], place[-1]) for place in places]


def quietest(samples: NDArray[np.float32], start: int, end: int) -> int:
    """The sample of least energy (over 30 ms) in `start .. end`."""
    width = 3 * ENERGY_HOP
    points = np.arange(start, max(start + 1, end), ENERGY_HOP)
    energy = [float(np.sum(samples[max(0, p - width // 2) : p + width // 2] ** 2)) for p in points]
    return int(points[int(np.argmin(energy))])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tokenizer = load_vocabulary(options.data / "tokenizer")
    phonemes = Pronunciations.read(options.data / "phonemes.json").size
    model = TrainingModel(parse_config(config_values(tokenizer)), phonemes).eval()
    model.load_state_dict(torch.load(options.run / "state.pt", weights_only=True)["average"])
    maker = FeatureMaker(BINS)
    pack = Pack(options.data / "pack")
    written = skipped = 0
    with open(options.data / "alignments.jsonl", "w", encoding="utf-8") as out:
        for clip in pack.select(["train"]):
            words = clip.text.split()
            if clip.source not in SOURCES or len(words) < 2:
                continue
            audio = pack.audio(clip)
            features = maker.plain(audio)
            count = model.config.encoder.tokens(features.shape[1])
            padded = torch.nn.functional.pad(features, (0, -features.shape[1] % 100))[None]
            with torch.inference_mode():
                tokens = torch.tensor([count])
                hidden = model.encode(padded, tokens, AttentionPlan("rolling", 8)).audio
                scores = model.ctc_head(hidden)[0, :count].log_softmax(-1)
            labels = [tokenizer.encode(ctc_text(w, clip.language), add_special_tokens=False).ids for w in words]
            try:
                spans = force_align(scores, [i for word in labels for i in word], model.blank)
            except ValueError:
                skipped += 1
                continue
            ends: list[int] = []
            position = 0
            for word in labels[:-1]:
                position += len(word)
                left, right = spans[position - 1][1], spans[position][0]
                found = quietest(audio, int(left * SAMPLES_PER_TOKEN), int((right + 1) * SAMPLES_PER_TOKEN))
                ends.append(max(found, ends[-1] + 1 if ends else 1))
            ends.append(clip.samples)
            out.write(json.dumps({"id": clip.id, "ends": ends}) + "\n")
            written += 1
    print(f"{written} clips aligned, {skipped} too short for their text")


if __name__ == "__main__":
    main()
