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

from steno.models.config import parse_config

from .architecture import BINS, config_values
from .augment import FeatureMaker
from .examples import ctc_text
from .model import AttentionPlan, TrainingModel
from .pack import Pack
from .phonemes import Pronunciations
from .vocabulary import load_vocabulary

SOURCES = ("alnum", "pv-intent", "asterisk-en", "asterisk-es")
SAMPLES_PER_TOKEN = 16_000 / 13
ENERGY_HOP = 160


def force_align(scores: NDArray[np.float32], labels: list[int], blank: int) -> list[tuple[int, int]]:
    """Best CTC path: log-probabilities `[T, classes]` -> (first, last) frame of each label.

    Viterbi over the usual extended sequence (Graves 2006); ValueError when T is too short for it.
    """
    extended = [blank]
    for label in labels:
        extended += [label, blank]
    states = np.array(extended)
    may_skip = np.zeros(states.size, dtype=bool)
    may_skip[2:] = (states[2:] != blank) & (states[2:] != states[:-2])
    best = np.full(states.size, -np.inf)
    best[:2] = scores[0, states[:2]]
    came_from = np.zeros((scores.shape[0], states.size), dtype=np.int8)
    for t in range(1, scores.shape[0]):
        one = np.concatenate(([-np.inf], best[:-1]))
        two = np.where(may_skip, np.concatenate(([-np.inf, -np.inf], best[:-2])), -np.inf)
        options = np.stack((best, one, two))
        came_from[t] = options.argmax(0)
        best = options.max(0) + scores[t, states]
    state = states.size - 1 if best[-1] >= best[-2] else states.size - 2
    if not np.isfinite(best[state]):
        raise ValueError(f"{scores.shape[0]} frames are too few for {len(labels)} labels")
    spans: list[tuple[int, int]] = [(-1, -1)] * len(labels)
    for t in range(scores.shape[0] - 1, -1, -1):
        if state % 2:
            first, last = spans[state // 2]
            spans[state // 2] = (t, t if last < 0 else last)
        state -= int(came_from[t, state])
    return spans


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
                scores = model.ctc_head(hidden)[0, :count].log_softmax(-1).numpy()
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
