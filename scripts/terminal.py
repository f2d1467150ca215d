"""A small terminal: the text that stands on the screen after a program's output.

Knows printable characters, line feed, carriage return, cursor up and erase line, which is what rich's live display
uses. Colours and other control sequences are skipped; the screen never scrolls, it grows.
"""

import re

_LONGEST_CONTROL = 32
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Terminal:
    """`feed` it output in pieces of any size; `lines` is the screen without trailing blanks."""

    def __init__(self) -> None:
        self._rows: list[str] = [""]
        self._row = 0
        self._column = 0
        self._rest = ""

    @property
    def lines(self) -> list[str]:
        """Lines that are not empty."""
        return [row.rstrip() for row in self._rows if row.strip()]

    def feed(self, output: str) -> None:
        output, self._rest = self._rest + output, ""
        position = 0
        while position < len(output):
            character = output[position]
            if character == "\x1b":
                control = _CONTROL.match(output, position)
                if control is None and len(output) - position < _LONGEST_CONTROL:
                    self._rest = output[position:]
                    return
                if control is None:
                    position += 1
                    continue
                self._obey(control.group(2), control.group(1))
                position = control.end()
                continue
            self._put(character)
            position += 1

    def _obey(self, letter: str, argument: str) -> None:
        if letter == "A":
            self._row = max(0, self._row - int(argument or 1))
        elif letter == "K":
            self._rows[self._row] = ""

    def _put(self, character: str) -> None:
        if character == "\n":
            self._row, self._column = self._row + 1, 0
            self._rows += [""] * (self._row + 1 - len(self._rows))
        elif character == "\r":
            self._column = 0
        else:
            row = self._rows[self._row].ljust(self._column)
            self._rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1
