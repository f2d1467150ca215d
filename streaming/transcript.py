"""Committed and tentative text of one segment. Knows text and sample counts; no tokens, audio, wire or clock.

A character is committed when two numbers agree: the last `agreement` hypotheses in a row had it, with all that
stands before it, and at least `hold_back` samples of audio have followed since it first appeared there. A hypothesis
that has heard no more than the one before is no further evidence: encoders take in audio block by block. The last
character of a hypothesis is never committed, because a combining mark may still join it. Committed text only grows.

When a hypothesis contradicts committed text, the committed text stays as it was shown, and what the hypothesis says
after it (the alignment of fewest edits) is the tentative text. The final is authoritative, whatever was committed.
"""

from bisect import bisect_right
from os.path import commonprefix
from typing import Protocol

import numpy as np

from .graphemes import boundary_at_or_before, is_boundary

_INCOMPLETE = "\ufffd"  # a decoder's mark for bytes that are not a whole character yet


class Hypothesis(Protocol):
    """What the engine knows of a segment at one moment (`models.recognizer.Hypothesis` fits)."""

    @property
    def token_ids(self) -> tuple[int, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def language(self) -> str | None: ...
    @property
    def token_ends(self) -> tuple[int, ...]: ...
    @property
    def logprobs(self) -> tuple[float, ...]: ...
    @property
    def samples_seen(self) -> int: ...
    @property
    def final(self) -> bool: ...
    @property
    def truncated(self) -> bool: ...


class Transcript:
    """The text of one segment while it is spoken.

    Args:
        agreement: hypotheses in a row that must agree on a character, 1 or more.
        hold_back: samples of audio that must have followed since the character first appeared.
    """

    def __init__(self, *, agreement: int, hold_back: int) -> None:
        self._agreement = agreement
        self._hold_back = hold_back
        self._shown = ""
        self._committed = 0  # characters of _shown
        # Of each character of _shown: when it first appeared with this prefix, in samples heard, and as the how manieth
        # hypothesis. Neither ever falls from left to right.
        self._born_at: list[int] = []
        self._born_in: list[int] = []
        self._hypotheses = 0
        self._heard = -1
        self.language: str | None = None
        self.revision = 0

    @property
    def committed(self) -> str:
        """Text that stays."""
        return self._shown[: self._committed]

    @property
    def tentative(self) -> str:
        """Text after the committed one, which may change."""
        return self._shown[self._committed :]

    def receive(self, hypothesis: Hypothesis) -> bool:
        """Take the next hypothesis; True if what is shown has changed (then `revision` has risen)."""
        before = (self._shown, self._committed, self.language)
        shown = self._on_committed(hypothesis.text.lstrip().rstrip(_INCOMPLETE))
        kept = len(commonprefix((self._shown, shown)))
        fresh = len(shown) - kept
        self._hypotheses += hypothesis.samples_seen > self._heard
        self._heard = max(self._heard, hypothesis.samples_seen)
        self._born_at = self._born_at[:kept] + [self._heard] * fresh
        self._born_in = self._born_in[:kept] + [self._hypotheses] * fresh
        self._shown = shown
        self.language = hypothesis.language
        self._commit()
        if (self._shown, self._committed, self.language) == before:
            return False
        self.revision += 1
        return True

    def contradicted_by(self, final_text: str) -> bool:
        """True if `final_text` does not begin with the committed text."""
        return not final_text.lstrip().startswith(self.committed.rstrip())

    def _commit(self) -> None:
        agreed = bisect_right(self._born_in, self._hypotheses - self._agreement + 1)
        settled = bisect_right(self._born_at, self._heard - self._hold_back)
        limit = boundary_at_or_before(self._shown, max(len(self._shown) - 1, 0))
        end = boundary_at_or_before(self._shown, min(agreed, settled, limit))
        self._committed = max(self._committed, end)

    def _on_committed(self, text: str) -> str:
        """`text` with its beginning replaced by the committed text."""
        committed = self.committed
        if text.startswith(committed) and is_boundary(text, len(committed)):
            return text
        rest = text[_aligned_prefix(committed, text) :]
        if committed[-1:].isspace():
            rest = rest.lstrip()
        while not is_boundary(committed + rest, len(committed)):
            rest = rest[1:]  # a mark that would change the last committed character
        return committed + rest


def _aligned_prefix(committed: str, text: str) -> int:
    """Length of the prefix of `text` that lies nearest to `committed` in edits; among equals one that ends a word, then
    the longest."""
    same = len(commonprefix((committed, text)))
    source = np.array([ord(char) for char in committed[same:]], dtype=np.int64)
    target = np.array([ord(char) for char in text[same:]], dtype=np.int64)
    steps = np.arange(len(target) + 1)
    cost = steps.copy()  # of turning the empty source into each prefix of the target
    for char in source:
        through = np.minimum(cost + 1, np.concatenate(([cost[0] + 1], cost[:-1] + (target != char))))
        cost = np.minimum.accumulate(through - steps) + steps  # insertions run along the row
    best = [same + int(index) for index in np.flatnonzero(cost == cost.min())]
    allowed = [index for index in best if is_boundary(text, index)] or [len(text)]
    return max(allowed, key=lambda index: (_ends_word(text, index), index))


def _ends_word(text: str, index: int) -> bool:
    return index in (0, len(text)) or not (text[index - 1].isalnum() and text[index].isalnum())
