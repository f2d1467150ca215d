"""Captions on a terminal: committed text bright, tentative text dim, finals scroll up; plain lines in a pipe.

Knows how events look. Refuses to know where they come from: everything enters through `show`.
"""

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from steno.streaming.protocol import Final, Notice, Partial

from .events import Event, Reconnected

# A model may write anything; what would move the cursor or ring the bell is shown as the sign for "unknown".
_UNPRINTABLE = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_LIVE_LINES = 6  # more would push finals off a small terminal


class Captions(Protocol):
    """`with captions: captions.show(event)` for every event, in order."""

    def show(self, event: Event) -> None: ...
    def note(self, text: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_captions(*, partials: bool | None = None) -> Captions:
    """What suits the standard output: a live line on a terminal, else lines.

    `partials`: whether they are shown; None: on a terminal only.
    """
    if sys.stdout.isatty():
        return LiveCaptions(Console(highlight=False), partials=partials is not False)
    return PlainCaptions(sys.stdout, sys.stderr, partials=bool(partials))


class LiveCaptions:
    """A terminal whose last lines are the utterances that are still open."""

    def __init__(self, console: Console, *, partials: bool = True) -> None:
        self._console = console
        self._partials = partials
        self._open: dict[int, Partial] = {}
        # No refresh of its own: events alone change the picture, so no thread is needed.
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What never became final stays on the screen, as it was."""
        with self._console:
            self._live.update(Text(), refresh=True)
            self._live.stop()
            for _, partial in sorted(self._open.items()):
                self._console.print(self._line(partial))

    def show(self, event: Event) -> None:
        lines: list[Text] = []
        match event:
            case Partial():
                if self._partials:
                    self._open[event.segment] = event
            case Final():
                self._open.pop(event.segment, None)
                if event.text.strip():
                    lines.append(Text.assemble(_clock(event.start_ms), _printable(event.text.strip())))
            case Reconnected():
                self._open.clear()
                lines.append(_noted(reconnected_words(event)))
            case Notice():
                lines.append(_noted(event.message))
        # The picture first: what is printed above it draws it again. All in one write, so that nothing flickers.
        with self._console:
            self._live.update(self._picture(), refresh=True)
            for line in lines:
                self._console.print(line)

    def note(self, text: str) -> None:
        self._console.print(_noted(text))

    def _picture(self) -> Text:
        lines: list[Text] = []
        for _, partial in sorted(self._open.items()):
            lines += self._line(partial).wrap(self._console, max(self._console.width, 20))
        return Text("\n").join(lines[-_LIVE_LINES:])

    def _line(self, partial: Partial) -> Text:
        return Text.assemble(
            _clock(partial.start_ms),
            (_printable(partial.committed.lstrip()), "bold"),
            (_printable(partial.tentative if partial.committed else partial.tentative.lstrip()), "dim"),
        )


class PlainCaptions:
    """One line for each final on `output`, for other programs to read; notes go to `notes`.

    With `partials`, each partial is a line too: `~ committed|tentative`.
    """

    def __init__(self, output: TextIO, notes: TextIO, *, partials: bool = False) -> None:
        self._output = output
        self._notes = notes
        self._partials = partials

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.flush()

    def show(self, event: Event) -> None:
        match event:
            case Final(text=text) if text.strip():
                print(_printable(text.strip()), file=self._output, flush=True)
            case Partial(committed=committed, tentative=tentative) if self._partials:
                print(_printable(f"~ {committed}|{tentative}"), file=self._output, flush=True)
            case Notice(message=message):
                self.note(message)
            case Reconnected():
                self.note(reconnected_words(event))
            case _:
                pass

    def note(self, text: str) -> None:
        print(f"steno: {text}", file=self._notes, flush=True)


def reconnected_words(event: Reconnected) -> str:
    """One line for the user about a mended connection."""
    missing = f"; {event.missing_ms / 1000:.1f} s of audio could not be sent again" if event.missing_ms else ""
    how = "resumed" if event.resumed else "a new session has begun"
    return f"connection lost ({event.reason}), reconnected: {how}{missing}"


def _noted(text: str) -> Text:
    return Text(_printable(text), style="yellow")


def _printable(text: str) -> str:
    return text.translate(_UNPRINTABLE)


def _clock(instant_ms: int) -> tuple[str, str]:
    minutes, seconds = divmod(instant_ms // 1000, 60)
    return f"{minutes:3}:{seconds:02}  ", "cyan"
