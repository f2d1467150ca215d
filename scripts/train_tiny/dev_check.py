"""Error rates on the dev split while training runs: by the CTC head and by the decoder, greedily.

Uses the training forward on whole padded batches; the figures of the model card come from
`evaluate`, through the recognizer that serves.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .augment import FeatureMaker
from .examples import CHUNK_FRAMES, Prompt
from .model import AttentionPlan, TrainingModel
from .pack import Pack, PackedClip
from .word_errors import ErrorCount

BATCH = 24


@dataclass(frozen=True, slots=True)
class DevScore:
    """Per source: (CTC error rate, decoder error rate); and how often the language was right."""

    rates: dict[str, tuple[float, float]]
    language: float
    examples: list[tuple[str, str, str]]  # reference, CTC, decoder


class DevCheck:
    """A fixed choice of dev clips with their features."""

    def __init__(self, pack: Pack, maker: FeatureMaker, prompt: Prompt, tokenizer: Tokenizer, per_source: int) -> None:
        chosen: dict[str, list[PackedClip]] = defaultdict(list)
        for clip in pack.select(["dev"]):
            if len(chosen[clip.source]) < per_source:
                chosen[clip.source].append(clip)
        clips = sorted((c for cs in chosen.values() for c in cs), key=lambda c: c.samples)
        self._clips = clips
        self._features = [maker.plain(pack.audio(clip)) for clip in clips]
        self._prompt = prompt
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def run(self, model: TrainingModel, plan: AttentionPlan) -> DevScore:
        counts: dict[str, tuple[ErrorCount, ErrorCount]] = defaultdict(lambda: (ErrorCount(), ErrorCount()))
        right = 0
        examples: list[tuple[str, str, str]] = []
        device = next(model.parameters()).device
        for start in range(0, len(self._clips), BATCH):
            clips = self._clips[start : start + BATCH]
            features, tokens = _pad(self._features[start : start + BATCH])
            audio = model.encode(features.to(device), tokens.to(device), plan).audio
            by_ctc = self._ctc(model, audio, tokens)
            by_decoder = self._decode(model, audio, tokens.to(device))
            for clip, ctc, answer in zip(clips, by_ctc, by_decoder, strict=True):
                meta, _, text = answer.partition("<asr_text>")
                right += meta.removeprefix("language ") == clip.language
                counts[clip.source][0].add(clip.text, ctc, clip.language)
                counts[clip.source][1].add(clip.text, text, clip.language)
                if len(examples) < 400:
                    examples.append((f"{clip.source}: {clip.text}", ctc, answer))
        rates = {s: (round(a.rate, 3), round(b.rate, 3)) for s, (a, b) in sorted(counts.items())}
        return DevScore(rates, right / max(1, len(self._clips)), examples)

    def _ctc(self, model: TrainingModel, audio: Tensor, tokens: Tensor) -> list[str]:
        best = model.ctc_head(audio).argmax(-1).cpu()
        texts = []
        for row, count in zip(best, tokens.tolist(), strict=True):
            kept = torch.unique_consecutive(row[:count]).tolist()
            texts.append(self._tokenizer.decode([i for i in kept if i != model.blank]).strip())
        return texts

    def _decode(self, model: TrainingModel, audio: Tensor, tokens: Tensor) -> list[str]:
        heads = [self._prompt.head(n) for n in tokens.tolist()]
        lengths = torch.tensor([len(h) for h in heads], device=audio.device)
        limit = min(64, 8 + int(tokens.max()) // 3)
        ids = torch.zeros(len(heads), int(lengths.max()) + limit, dtype=torch.int64)
        for i, head in enumerate(heads):
            ids[i, : len(head)] = torch.tensor(head)
        ids = ids.to(audio.device)
        rows = torch.arange(len(heads), device=audio.device)
        done = torch.zeros(len(heads), dtype=torch.bool, device=audio.device)
        generated: list[Tensor] = []
        for _ in range(limit):
            used = int(lengths.max())
            states = model.decode(ids[:, :used], audio, tokens).states
            best = model.network.logits(states[rows, lengths - 1]).argmax(-1)
            done |= best == self._prompt.end_token
            generated.append(torch.where(done, self._prompt.end_token, best))
            if bool(done.all()):
                break
            ids[rows, lengths] = best
            lengths = lengths + 1
        table = torch.stack(generated, dim=1).tolist()
        end = self._prompt.end_token
        return [self._tokenizer.decode([i for i in row if i != end], skip_special_tokens=False) for row in table]


def _pad(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    frames = [f.shape[1] for f in features]
    chunks = max(-(-n // CHUNK_FRAMES) for n in frames)
    padded = torch.zeros(len(features), features[0].shape[0], chunks * CHUNK_FRAMES)
    for i, feature in enumerate(features):
        padded[i, :, : feature.shape[1]] = feature
    return padded, torch.tensor([13 * (n // 100) + -(-(n % 100) // 8) for n in frames])
