"""One segment between its start and its final: its counts, its transcript, and the messages that tell of it.

Knows the wire's messages and sample offsets; refuses to know order among segments, phases and work.
"""

from math import exp

from .protocol import Final, Notice, NoticeCode, Partial, ServerMessage, Token, Word
from .transcript import Hypothesis, Transcript
from .work import SAMPLE_RATE, AlignedWord

_MS = SAMPLE_RATE // 1000


class Segment:
    """A segment whose final was not sent yet.

    Args:
        number: counted from 0 in the session.
        start: position of its first sample in the stream.
        transcript: empty.
    """

    def __init__(self, number: int, start: int, transcript: Transcript) -> None:
        self.number = number
        self.start = start
        self.end: int | None = None
        """Position where its audio ends, once that is known."""
        self.transcript = transcript
        self.fed = 0
        """Samples given to the engine."""
        self.heard = 0
        """Samples that the last hypothesis covers."""
        self.due = 0
        """Samples given to the engine since an update was last asked for."""
        self.closing: tuple[ServerMessage, ...] = ()
        """Its last messages, the final at the end, once they are known."""

    def hear(self, hypothesis: Hypothesis) -> None:
        """Take over how much audio the engine has covered."""
        self.heard = min(max(self.heard, hypothesis.samples_seen), self.fed)

    def partial(self) -> Partial:
        """What is recognised so far."""
        return Partial(
            segment=self.number,
            revision=self.transcript.revision,
            committed=self.transcript.committed,
            tentative=self.transcript.tentative,
            language=self.transcript.language,
            start_ms=self.start // _MS,
            end_ms=(self.start + self.heard) // _MS,
        )

    def recognised(
        self, hypothesis: Hypothesis, words: tuple[AlignedWord, ...] | None, *, logprobs: bool = False
    ) -> tuple[ServerMessage, ...]:
        """Last messages of a segment that the engine finished; `logprobs`: with the tokens."""
        final = self._final(
            hypothesis.text.strip(),
            hypothesis.language,
            confidence=_confidence(hypothesis.logprobs),
            words=None if words is None else tuple(self._word(each) for each in words),
            tokens=_tokens(hypothesis) if logprobs else None,
        )
        if not hypothesis.truncated:
            return (final,)
        return (self._notice(NoticeCode.TRUNCATED, "the text reached the model's limit and was cut"), final)

    def given_up(self, message: str) -> tuple[ServerMessage, ...]:
        """Last messages of a segment that will not be recognised: what was committed, and which audio it is."""
        text = self.transcript.committed.strip()
        final = self._final(text, self.transcript.language if text else None)
        return (self._notice(NoticeCode.UNTRANSCRIBED, message), final)

    def cleared(self) -> tuple[ServerMessage, ...]:
        """Last message of a segment that the client dropped."""
        return (self._final("", None),)

    def _final(
        self,
        text: str,
        language: str | None,
        confidence: float | None = None,
        words: tuple[Word, ...] | None = None,
        tokens: tuple[Token, ...] | None = None,
    ) -> Final:
        return Final(
            segment=self.number,
            text=text,
            language=language,
            start_ms=self.start // _MS,
            end_ms=self._end_ms(),
            confidence=confidence,
            words=words,
            tokens=tokens,
        )

    def _notice(self, code: NoticeCode, message: str) -> Notice:
        return Notice(
            code=code,
            message=message,
            segment=self.number,
            start_ms=self.start // _MS,
            end_ms=self._end_ms(),
        )

    def _end_ms(self) -> int:
        assert self.end is not None, "a final needs the segment's end"
        return self.end // _MS

    def _word(self, word: AlignedWord) -> Word:
        return Word(
            text=word.text,
            start_ms=(self.start + word.start) // _MS,
            end_ms=(self.start + word.end) // _MS,
        )


def _tokens(hypothesis: Hypothesis) -> tuple[Token, ...]:
    """The tokens of the text; those of the language tag, which come first and end at 0, are left out."""
    tokens: list[Token] = []
    before = 0
    for end, logprob in zip(hypothesis.token_ends, hypothesis.logprobs, strict=True):
        if end or tokens:
            tokens.append(Token(text=hypothesis.text[before:end], logprob=round(logprob, 5)))
            before = end
    return tuple(tokens)


def _confidence(logprobs: tuple[float, ...]) -> float | None:
    return round(exp(min(sum(logprobs) / len(logprobs), 0.0)), 4) if logprobs else None
