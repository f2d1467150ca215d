"""Captions: what a terminal shows after each event, and what a pipe reads."""

import io

import pytest
from rich.console import Console

from scripts.terminal import Terminal
from steno.client.captions import LiveCaptions, PlainCaptions, open_captions
from steno.client.events import Event, Reconnected
from steno.streaming.protocol import Done, Final, Notice, NoticeCode, Partial, SpeechEnd, SpeechStart


def partial(committed: str, tentative: str, *, segment: int = 0, revision: int = 1, start_ms: int = 0) -> Partial:
    return Partial(
        segment=segment,
        revision=revision,
        committed=committed,
        tentative=tentative,
        start_ms=start_ms,
        end_ms=start_ms + 1000,
    )


def final(text: str, *, segment: int = 0, start_ms: int = 0) -> Final:
    return Final(segment=segment, text=text, start_ms=start_ms, end_ms=start_ms + 2000)


class Screen:
    """What a terminal of 40 columns shows."""

    def __init__(self) -> None:
        self.output = io.StringIO()
        self.console = Console(
            file=self.output, force_terminal=True, width=40, height=20, color_system="standard", highlight=False
        )

    def lines(self) -> list[str]:
        """The visible lines, without styles."""
        terminal = Terminal()
        terminal.feed(self.output.getvalue())
        return terminal.lines


def show(*events: Event, partials: bool = True) -> Screen:
    """The screen after the last event, while the captions are still live."""
    screen = Screen()
    captions = LiveCaptions(screen.console, partials=partials)
    captions.__enter__()
    for event in events:
        captions.show(event)
    return screen


def test_a_newer_partial_replaces_the_older_one() -> None:
    screen = show(partial("", "one"), partial("one", " two"), partial("one two", " tree"))
    assert screen.lines() == ["  0:00  one two tree"]


def test_committed_is_bold_and_tentative_dim() -> None:
    written = show(partial("one", " two")).output.getvalue()
    assert "\x1b[1mone\x1b[0m\x1b[2m two\x1b[0m" in written


def test_a_final_scrolls_up_and_takes_its_partial_with_it() -> None:
    screen = show(
        partial("one", " tree"),
        final("One three."),
        SpeechStart(segment=1, at_ms=65_000),
        partial("", "four", segment=1, start_ms=65_000),
    )
    assert screen.lines() == ["  0:00  One three.", "  1:05  four"]


def test_no_write_shows_a_final_together_with_its_own_partial() -> None:
    """It was so once: what is printed above a live display draws the old display again."""

    class Writes(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.terminal = Terminal()
            self.screens: list[list[str]] = []

        def write(self, text: str) -> int:
            self.terminal.feed(text)
            self.screens.append(self.terminal.lines)
            return len(text)

    writes = Writes()
    with LiveCaptions(Console(file=writes, force_terminal=True, width=40, height=20)) as captions:
        captions.show(partial("one", " tree"))
        captions.show(final("One three."))
        captions.show(partial("", "four", segment=1))
    shown = [screen for i, screen in enumerate(writes.screens) if screen and screen != writes.screens[i - 1]]
    assert shown == [["  0:00  one tree"], ["  0:00  One three."], ["  0:00  One three.", "  0:00  four"]]


def test_segments_that_overlap_are_shown_in_order() -> None:
    screen = show(
        partial("one", "", segment=0),
        SpeechEnd(segment=0, at_ms=900, reason="endpoint"),
        partial("two", "", segment=1, start_ms=1000),
        partial("one.", "", segment=0, revision=2),
    )
    assert screen.lines() == ["  0:00  one.", "  0:01  two"]


def test_a_final_without_text_leaves_no_line() -> None:
    assert show(partial("", "uh"), final("")).lines() == []


def test_a_long_utterance_shows_its_end() -> None:
    words = [f"word{n}" for n in range(100)]
    lines = show(partial(" ".join(words), "")).lines()
    assert len(lines) == 6
    assert lines[-1].endswith("word99")


def test_what_would_move_the_cursor_is_not_sent_to_the_terminal() -> None:
    evil = "safe\x1b[2J\x07\x9b text"
    assert show(final(evil)).lines() == ["  0:00  safe\ufffd[2J\ufffd\ufffd text"]
    out = io.StringIO()
    PlainCaptions(out, out, partials=True).show(partial(evil, ""))
    assert out.getvalue() == "~ safe\ufffd[2J\ufffd\ufffd text|\n"


def test_brackets_in_the_text_are_text() -> None:
    assert show(final("[bold]not a tag[/bold]")).lines() == ["  0:00  [bold]not a tag[/bold]"]


def test_notices_and_reconnects_are_told_and_an_unfinished_partial_of_the_old_session_goes() -> None:
    screen = show(
        partial("lost", ""),
        Reconnected("cable", resumed=False, missing_ms=1500),
        Notice(code=NoticeCode.LAGGING, message="the server is busy"),
    )
    assert " ".join(screen.lines()) == (
        "connection lost (cable), reconnected: a new session has begun; 1.5 s of audio could not be sent again"
        " the server is busy"
    )


def test_partials_can_be_left_out() -> None:
    assert show(partial("one", ""), partials=False).lines() == []


def test_what_never_became_final_stays_on_the_screen() -> None:
    screen = Screen()
    with LiveCaptions(screen.console) as captions:
        captions.show(final("One."))
        captions.show(partial("two", " thr", segment=1))
    assert screen.lines() == ["  0:00  One.", "  0:00  two thr"]


EVENTS: tuple[Event, ...] = (
    partial("o", "n"),
    partial("one", ""),
    final(" One. "),
    final(""),
    Notice(code=NoticeCode.LAGGING, message="the server is busy"),
    Reconnected("cable", resumed=True, missing_ms=0),
    Done(audio_ms=1, segments=1),
)


@pytest.mark.parametrize(("partials", "output"), [(False, "One.\n"), (True, "~ o|n\n~ one|\nOne.\n")])
def test_a_pipe_gets_finals_and_the_notes_go_elsewhere(partials: bool, output: str) -> None:
    out, notes = io.StringIO(), io.StringIO()
    with PlainCaptions(out, notes, partials=partials) as captions:
        for event in EVENTS:
            captions.show(event)
    assert out.getvalue() == output
    assert notes.getvalue() == ("steno: the server is busy\nsteno: connection lost (cable), reconnected: resumed\n")


def test_without_a_terminal_captions_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with open_captions() as captions:
        captions.show(final("One."))
    assert capsys.readouterr().out == "One.\n"
