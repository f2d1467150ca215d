"""Endless training examples from a pack: single clips, joins of one voice, cut joins, and noise.

An example is planned first (which clips, which gaps, how fast, how long), so that a batch can be
made of plans of like length, and made only then. Runs in loader processes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from steno.models.mel import SAMPLE_RATE

from . import augment
from .frame_labels import FrameLabels
from .model import IGNORED, PHONEME_FRAMES, Batch
from .noise import draw_noise
from .pack import Pack, PackedClip
from .phonemes import Pronunciations
from .planner import Planner, Recipe, spelt, words_of
from .plans import Plan
from .vocabulary import load_vocabulary, token_id

CHUNK_FRAMES = 100
NOISE_BANK = 240  # grows to so many
BREATHS = 0.05  # share of the sounds without words that are pieces of speech, backwards and without a voice
MISHEARD = 0.05  # share of the text before a word that is replaced, so that the words are sought in the audio
POOL = 384  # plans sorted by length before they are cut into batches

_FLUENT = ("asterisk-en", "asterisk-es", "cmn-hsk", "pv-intent")  # not letters: "e" is "e" backwards too


class Prompt:
    """Token ids of a training row, in the official form."""

    def __init__(self, tokenizer: Tokenizer, words: list[str], pronunciations: Pronunciations) -> None:
        self.pronunciations = pronunciations
        self._words = words  # to draw context from
        self._tokenizer = tokenizer

        def ids(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)

        self.encode = ids
        self._text_tokens = sorted({i for word in words for i in ids(f" {word}")})
        self._before = ids("<|im_start|>system\n")
        self._middle = ids("<|im_end|>\n<|im_start|>user\n<|audio_start|>")
        self._after = ids("<|audio_end|><|im_end|>\n<|im_start|>assistant\n")
        self.audio_token = token_id(tokenizer, "<|audio_pad|>")
        self.end_token = token_id(tokenizer, "<|im_end|>")

    def head(self, tokens: int, context: str = "", language: str | None = None) -> list[int]:
        """The prompt for `tokens` audio tokens, up to where the answer starts."""
        forced = self.encode(f"language {language}<asr_text>") if language else []
        middle = [*self._middle, *[self.audio_token] * tokens, *self._after]
        return [*self._before, *self.encode(context), *middle, *forced]

    def words_of(self, text: str, language: str) -> list[int]:
        """For each token of `text`, the index of its word; -1 throughout where words are not parted by spaces."""
        ends = [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]
        if language == "Chinese":
            return [-1] * len(ends)
        begin = len(text) - len(text.lstrip())
        return [text.count(" ", begin, end) for end in ends]

    def row(self, plan: Plan, tokens: int, rng: np.random.Generator) -> "Row":
        """The row of a plan that makes `tokens` audio tokens."""
        context = ""
        if rng.random() < 0.12:
            drawn = [self._words[i] for i in rng.integers(len(self._words), size=rng.integers(1, 8))]
            if plan.text and rng.random() < 0.5:
                drawn += [w for w in plan.text.split() if rng.random() < 0.5][:6]
            context = rng.choice([", ", " "]).join(drawn)
        forced = plan.language if plan.language != "None" else "English"
        forced_here = rng.random() < 0.2
        head = self.head(tokens, context, forced if forced_here else None)
        answer = self.encode(plan.text if forced_here else f"language {plan.language}<asr_text>{plan.text}")
        answer = [*answer, self.end_token]
        ids = [*head, *answer[:-1]]
        targets = [IGNORED] * (len(head) - 1) + answer
        said = self.words_of(plan.text, plan.language)
        words = [-1] * (len(ids) - len(said) - 1) + said + [-1]
        for i in range(len(ids) - len(said), len(ids)):
            if rng.random() < MISHEARD:
                ids[i] = self._text_tokens[rng.integers(len(self._text_tokens))]
        return Row(ids, targets, words)


class Row(NamedTuple):
    """What the decoder is given and should say at each position."""

    ids: list[int]
    targets: list[int]  # the next token where the answer is, IGNORED elsewhere
    words: list[int]  # index of the word that the target is part of, -1 for none


class ExampleStream(IterableDataset[Batch]):
    """Batches without end; `stage` is shared with the trainer, which moves it as training goes on."""

    def __init__(
        self,
        data: Path,
        bins: int,
        recipes: list[Recipe],
        stage: "torch.Tensor",
        seed: int,
        alignments: Path | None = None,
    ) -> None:
        self._data = data
        self._bins = bins
        self._recipes = recipes
        self._stage = stage  # int64 [1] in shared memory: index into recipes
        self._seed = seed
        self._alignments = alignments

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        info = get_worker_info()
        rng = np.random.default_rng([self._seed, info.id if info else 0])
        pack = Pack(self._data / "pack")
        planner = Planner(pack, self._alignments, rng)
        texts = {w for c in pack.select(["train"]) for w in words_of(c)}
        pronunciations = Pronunciations.read(self._data / "phonemes.json")
        prompt = Prompt(load_vocabulary(self._data / "tokenizer"), sorted(texts), pronunciations)
        labeller = FrameLabels(pack, pronunciations)
        maker = augment.FeatureMaker(self._bins)
        voices = [c for c in pack.select(["train"]) if c.source in _FLUENT and not spelt(words_of(c))]
        bank = [draw_noise(rng, int(rng.uniform(2, 9) * SAMPLE_RATE)) for _ in range(8)]
        while True:
            recipe = self._recipes[int(self._stage[0])]
            plans = sorted((planner.draw(recipe) for _ in range(POOL)), key=lambda p: p.samples)
            batches = _cut(plans, recipe.batch_s)
            for index in rng.permutation(len(batches)):
                fresh = draw_noise(rng, int(rng.uniform(2, 9) * SAMPLE_RATE))
                bank = [*bank[-NOISE_BANK + 1 :], fresh]
                made = [_make(plan, pack, voices, bank, rng, recipe.strength) for plan in batches[index]]
                features = [maker.augmented(m, rng, recipe.strength, recipe.voice) for m in made]
                features = [augment.mask(f, rng, recipe.strength) for f in features]
                yield collate(features, batches[index], prompt, labeller, rng)


def collate(
    features: list[Tensor], plans: list[Plan], prompt: Prompt, labeller: FrameLabels, rng: np.random.Generator
) -> Batch:
    """Pad features `[bins, frames]` and rows of ids into one batch."""
    frames = [f.shape[1] for f in features]
    chunks = max(-(-n // CHUNK_FRAMES) for n in frames)
    padded = torch.zeros(len(features), features[0].shape[0], chunks * CHUNK_FRAMES)
    tokens = [13 * (n // CHUNK_FRAMES) + -(-(n % CHUNK_FRAMES) // 8) for n in frames]
    rows = [prompt.row(plan, n, rng) for plan, n in zip(plans, tokens, strict=True)]
    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets = torch.full((len(rows), longest), IGNORED)
    words = torch.full((len(rows), longest), -1)
    ctc: list[int] = []
    ctc_words: list[int] = []
    lengths: list[int] = []
    phonemes: list[int] = []
    phoneme_lengths: list[int] = []
    labels = torch.full((len(features), 13 * chunks * PHONEME_FRAMES), IGNORED)
    for i, (feature, row, plan) in enumerate(zip(features, rows, plans, strict=True)):
        padded[i, :, : feature.shape[1]] = feature
        for table, values in zip((ids, targets, words), row, strict=True):
            table[i, : len(values)] = torch.tensor(values)
        written = ctc_text(plan.text, plan.language)
        spoken = prompt.encode(written)
        ctc += spoken
        ctc_words += prompt.words_of(written, plan.language)
        lengths.append(len(spoken))
        sounds = prompt.pronunciations.ids(plan.text, plan.language)
        phonemes += sounds or []
        frame_labels = torch.from_numpy(labeller.labels(plan, tokens[i]))
        labels[i, : len(frame_labels)] = frame_labels
        phoneme_lengths.append(-1 if sounds is None else len(sounds))
    return Batch(
        padded,
        torch.tensor(tokens),
        ids,
        targets,
        torch.tensor(ctc, dtype=torch.int64),
        torch.tensor(lengths),
        torch.tensor(phonemes, dtype=torch.int64),
        torch.tensor(phoneme_lengths),
        labels,
        words,
        torch.tensor(ctc_words, dtype=torch.int64),
    )


def ctc_text(text: str, language: str) -> str:
    """Every word with a space before it, so that a word has one spelling wherever it stands."""
    return f" {text}" if text and language != "Chinese" else text


def _cut(plans: list[Plan], batch_s: float) -> list[list[Plan]]:
    """Plans sorted by length -> batches whose padded length is at most `batch_s` seconds."""
    batches: list[list[Plan]] = [[]]
    for plan in reversed(plans):
        longest = batches[-1][0].samples if batches[-1] else plan.samples
        padded = (len(batches[-1]) + 1) * -(-longest // SAMPLE_RATE)
        if batches[-1] and padded > batch_s:
            batches.append([])
        batches[-1].append(plan)
    return batches


def breaths(pack: Pack, voices: list[PackedClip], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """`count` samples of throats that say no words: short pieces of speech, backwards and whispered, with gaps.

    Synthetic coughs alone left the model hearing words in recorded ones. With their voice left in, the pieces taught it
    to hear nothing in short digits of people it does not know (None for 57 of 500).
    """
    out = np.zeros(count, np.float32)
    at = int(rng.uniform(0, 0.4) * SAMPLE_RATE)
    while at < count:
        clip = voices[rng.integers(len(voices))]
        length = min(count - at, clip.samples, int(rng.uniform(0.1, 0.5) * SAMPLE_RATE))
        start = clip.start + int(rng.integers(0, clip.samples - length + 1))
        piece = augment.change_speed(pack.samples(start, length)[::-1].copy(), float(rng.uniform(0.7, 1.5)))
        piece = augment.whisper(piece, rng)[: count - at]
        t = np.arange(piece.size) / SAMPLE_RATE
        piece = piece * np.exp(-t * rng.uniform(0, 12)) * np.minimum(1, t / rng.uniform(0.001, 0.02))
        out[at : at + piece.size] = piece / (np.abs(piece).max() + 1e-5) * rng.uniform(0.3, 1)
        at += piece.size + int(rng.choice([rng.uniform(0, 0.25), rng.uniform(0.3, 2.5)]) * SAMPLE_RATE)
    return out


def _make(
    plan: Plan,
    pack: Pack,
    voices: list[PackedClip],
    bank: list[NDArray[np.float32]],
    rng: np.random.Generator,
    strength: float,
) -> NDArray[np.float32]:
    """Samples of a plan, augmented."""
    noise = bank[rng.integers(len(bank))]
    if not plan.pieces:
        if voices and rng.random() < BREATHS:
            noise = breaths(pack, voices, plan.samples, rng)
        out = np.resize(noise[rng.integers(noise.size // 2) :], plan.samples)
        return out * np.float32(10 ** rng.uniform(-2.5, 0))
    parts: list[NDArray[np.float32]] = []
    for piece, gap in zip(plan.pieces, plan.gaps, strict=True):
        part = pack.samples(piece.start, piece.samples)
        if len(plan.pieces) > 1:
            part = part * np.float32(10 ** rng.uniform(-0.15, 0.15))
        parts += [np.zeros(gap, np.float32), part]
    parts.append(np.zeros(plan.trail, np.float32))
    out = augment.change_speed(np.concatenate(parts), plan.speed)[: plan.samples]
    if rng.random() < 0.25 * strength:
        out = augment.reverberate(out, rng)
    draw = rng.random()
    if draw < 0.55 * strength:
        snr_db = float(rng.uniform(3, 35))
        out = augment.add_noise(out, np.resize(noise, out.size), snr_db)
    elif draw < 0.95:
        hiss = rng.standard_normal(out.size).astype(np.float32)
        out = augment.add_noise(out, hiss, float(rng.uniform(30, 60)))
    peak = 10 ** rng.uniform(-1.3 * strength, 0.0)
    if rng.random() < 0.05:
        return np.clip(augment.set_peak(out, 3.0), -1, 1) * np.float32(peak)
    return augment.set_peak(out, peak)
