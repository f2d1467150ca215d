"""A small terminal: the text that stands on the screen after a program's output.

Knows printable characters, line feed, carriage return, cursor up, erase line and dim text, which is what rich's live
display uses. Colours and other control sequences are skipped; the screen never scrolls, it grows.
"""

import re
from itertools import groupby

_LONGEST_CONTROL = 32
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
_BLANK = (" ", False)


class Terminal:
    """`feed` it output in pieces of any size; `lines` is the screen without trailing blanks."""

    def __init__(self) -> None:
        self._rows: list[list[tuple[str, bool]]] = [[]]  # cells: character, whether it is dim
        self._row = 0
        self._column = 0
        self._dim = False
        self._rest = ""

    @property
    def lines(self) -> list[str]:
        """Lines that are not empty."""
        texts = ("".join(character for character, _ in row).rstrip() for row in self._rows)
        return [text for text in texts if text]

    @property
    def marked_lines(self) -> list[str]:
        """The same, with dim text in ⟨angle brackets⟩."""
        texts = ("".join(_marked("".join(c for c, _ in run), dim) for dim, run in groupby(row, lambda cell: cell[1]))
                 for row in self._rows)  # fmt: skip
        return [text.rstrip() for text in texts if text.strip()]

    def feed(self, output: str) -> None:
        output, self._rest = self._rest + output, ""
        position = 0
        while position < len(output):
            character = output[position]
            if character != "\x1b":
                self._put(character)
                position += 1
                continue
            control = _CONTROL.match(output, position)
            if control is None and len(output) - position < _LONGEST_CONTROL:
                self._rest = output[position:]
                return
            if control is not None:
                self._obey(control.group(2), control.group(1))
            position = control.end() if control is not None else position + 1

    def _obey(self, letter: str, argument: str) -> None:
        if letter == "A":
            self._row = max(0, self._row - int(argument or 1))
        elif letter == "K":
            self._rows[self._row] = []
        elif letter == "m":
            for code in argument.split(";"):
                self._dim = code == "2" or (self._dim and code not in ("", "0", "22"))

    def _put(self, character: str) -> None:
        if character == "\n":
            self._row, self._column = self._row + 1, 0
            self._rows += [[] for _ in range(self._row + 1 - len(self._rows))]
        elif character == "\r":
            self._column = 0
        else:
            row = self._rows[self._row]
            row += [_BLANK] * (self._column + 1 - len(row))
            row[self._column] = (character, self._dim)
            self._column += 1


def _marked(text: str, dim: bool) -> str:
    return f"⟨{text}⟩" if dim and text.strip() else text
