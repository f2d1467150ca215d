"""Subtitles: finals to cues of at most two lines, written as SRT or WebVTT; plain text and JSON beside them.

Knows line lengths, reading habits and the two formats. Refuses to know where finals come from and where the text is
saved. Widths are columns: a wide East Asian character counts two, so 42 columns are 21 such characters.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from steno.streaming.protocol import Final

LINE_COLUMNS = 42  # what broadcasters' guidelines agree on for Latin script
LINES_PER_CUE = 2
SHORTEST_CUE_MS = 1000  # a cue that flashes by cannot be read

_SENTENCE_ENDS = frozenset(".!?…。！？؟।")
_CLAUSE_ENDS = frozenset(",;:—，、；：،؛")
_NEVER_FIRST = _SENTENCE_ENDS | _CLAUSE_ENDS | frozenset(")]}»”’」』）】》〉％%")
_NEVER_LAST = frozenset("([{«“‘「『（【《〈")


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on the screen from `start_ms` to `end_ms` of stream audio."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece of text that no line break may cut. `glued`: no space before it."""

    text: str
    glued: bool

    @property
    def columns(self) -> int:
        return _columns(self.text)


def cues(finals: Iterable[Final]) -> list[Cue]:
    """The cues of `finals`, in order and without overlap; finals without text give none.

    Within a final, time comes from its words where it has them, else it is shared out by width of text.
    """
    timed = [cue for final in finals for cue in _cues_of(final)]
    limits_ms = [following.start_ms for following in timed[1:]] + [None]
    return [_lengthened(cue, limit_ms) for cue, limit_ms in zip(timed, limits_ms, strict=False)]


def to_srt(finals: Iterable[Final]) -> str:
    """SubRip: numbered cues, comma before the milliseconds, CR-free."""
    return "".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n" + "\n".join(cue.lines) + "\n\n"
        for number, cue in enumerate(cues(finals), 1)
    )


def to_vtt(finals: Iterable[Final]) -> str:
    """WebVTT (W3C): `&`, `<` and `>` of the text are escaped."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + "\n".join(line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in cue.lines)
        + "\n\n"
        for cue in cues(finals)
    )


def to_text(finals: Iterable[Final]) -> str:
    """One line for each final that has text."""
    return "".join(f"{final.text.strip()}\n" for final in finals if final.text.strip())


def to_json(finals: Iterable[Final]) -> str:
    """`{"segments": [...]}`, each the final as it came, less what belongs to the wire alone."""
    encoded = msgspec.json.encode({"segments": [msgspec.structs.replace(final, seq=0) for final in finals]})
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


FORMATS: Mapping[str, Callable[[Iterable[Final]], str]] = MappingProxyType(
    {"srt": to_srt, "vtt": to_vtt, "txt": to_text, "json": to_json}
)


def _cues_of(final: Final) -> Iterator[Cue]:
    groups = _cue_groups(_units(final.text))
    total = sum(unit.columns for group in groups for unit in group)
    shown = 0
    starts_ms = _Times(final, total)
    for group in groups:
        begin_ms = starts_ms.at(shown)
        shown += sum(unit.columns for unit in group)
        yield Cue(begin_ms, starts_ms.at(shown), _lines(group))


class _Times:
    """The instant at which so many columns of a final's text have been spoken."""

    def __init__(self, final: Final, total_columns: int) -> None:
        self._final = final
        self._total_columns = total_columns
        self._words = final.words or ()
        self._words_columns = sum(_columns(word.text) for word in self._words)

    def at(self, columns: int) -> int:
        if columns == 0:
            return self._final.start_ms
        if columns >= self._total_columns:
            return self._final.end_ms
        if not self._words:
            span_ms = self._final.end_ms - self._final.start_ms
            return self._final.start_ms + span_ms * columns // self._total_columns
        # Words may lack punctuation that the text has: compare shares, and take the nearest start of a word.
        wanted = columns / self._total_columns * self._words_columns
        passed = 0
        best = self._words[0]
        for word in self._words:
            if passed <= wanted + 0.5:
                best = word
            passed += _columns(word.text)
        return min(max(best.start_ms, self._final.start_ms), self._final.end_ms)


def _units(text: str) -> list[_Unit]:
    """Words for scripts with spaces, single characters for Chinese and Japanese; an over-long word is cut."""
    units: list[_Unit] = []
    for word in text.split():
        for index, piece in enumerate(_pieces(word)):
            units.append(_Unit(piece, glued=index > 0))
    return units


def _pieces(word: str) -> Iterator[str]:
    piece = ""
    for character in word:
        breakable = bool(piece) and (_is_ideographic(character) or _is_ideographic(piece[-1]))
        kept = character in _NEVER_FIRST or (bool(piece) and piece[-1] in _NEVER_LAST)
        too_long = _columns(piece + character) > LINE_COLUMNS and not unicodedata.combining(character)
        if (breakable and not kept) or (bool(piece) and too_long):
            yield piece
            piece = ""
        piece += character
    yield piece


def _is_ideographic(character: str) -> bool:
    """Scripts that break between any two characters. Hangul has spaces and is left alone."""
    return unicodedata.east_asian_width(character) in "WF" and not unicodedata.name(character, "").startswith("HANGUL")


def _columns(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cue_groups(units: Sequence[_Unit]) -> list[list[_Unit]]:
    """Fill a cue as far as its lines hold, then step back to the last good place for a break, if it is not far."""
    groups: list[list[_Unit]] = []
    rest = list(units)
    while rest:
        held = _units_that_fit(rest)
        if held < len(rest):
            held = _good_break(rest[:held])
        groups.append(rest[:held])
        rest = rest[held:]
    return groups


def _units_that_fit(units: Sequence[_Unit]) -> int:
    lines, used = 1, 0
    for index, unit in enumerate(units):
        needed = unit.columns if used == 0 else used + unit.columns + (not unit.glued)
        if needed <= LINE_COLUMNS:
            used = needed
        elif lines == LINES_PER_CUE:
            return index
        else:
            lines, used = lines + 1, unit.columns
    return len(units)


def _good_break(units: Sequence[_Unit]) -> int:
    for ends, least_share in ((_SENTENCE_ENDS, 0.3), (_CLAUSE_ENDS, 0.6)):
        for held in range(len(units), int(len(units) * least_share), -1):
            if units[held - 1].text[-1] in ends:
                return held
    return len(units)


def _lines(group: Sequence[_Unit]) -> tuple[str, ...]:
    """One line if it fits, else two of nearly equal width, the break after punctuation where that costs little."""
    whole = _joined(group)
    if _columns(whole) <= LINE_COLUMNS:
        return (whole,)
    splits = [(_joined(group[:cut]), _joined(group[cut:])) for cut in range(1, len(group))]
    fitting = [s for s in splits if max(map(_columns, s)) <= LINE_COLUMNS]
    return min(fitting, key=_unevenness)


def _unevenness(lines: tuple[str, str]) -> int:
    bonus = 8 if lines[0][-1] in _SENTENCE_ENDS | _CLAUSE_ENDS else 0
    return abs(_columns(lines[0]) - _columns(lines[1])) - bonus


def _joined(units: Sequence[_Unit]) -> str:
    return "".join(unit.text if unit.glued or index == 0 else f" {unit.text}" for index, unit in enumerate(units))


def _lengthened(cue: Cue, limit_ms: int | None) -> Cue:
    """Held for a second at least, but never into the next cue, which begins at `limit_ms`."""
    end_ms = max(cue.end_ms, cue.start_ms + SHORTEST_CUE_MS)
    if limit_ms is not None:
        end_ms = max(cue.start_ms, min(end_ms, limit_ms))
    return Cue(cue.start_ms, end_ms, cue.lines)


def _clock(instant_ms: int, separator: str) -> str:
    seconds, milliseconds = divmod(instant_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{milliseconds:03}"
