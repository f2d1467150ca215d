"""The `steno` command: `serve`, `mic`, `stream`, `transcribe`, `devices`.

The only place that imports both the server and the client, each inside the command that needs it, so that the client
commands work where no server and no torch is installed. Knows flags, exit statuses and what is printed.

Exit status: 0 done, 1 it went wrong (told on standard error), 2 wrong usage, 130 interrupted.
"""

import asyncio
import importlib.metadata
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .config import EngineOptions, ServerOptions, SessionOptions
from .flags import env_name, metadata_of, with_flags

if TYPE_CHECKING:
    from steno.client.client import Client
    from steno.client.microphone import MicrophoneBlock

EXAMPLES = {
    "serve": "steno serve --host 0.0.0.0 --port 8765 --model tiny",
    "mic": "steno mic --save talk.srt",
    "stream": "steno stream talk.mp3 --speed 1.0 --save talk.srt",
    "transcribe": "steno transcribe *.wav --language English --format json",
    "devices": "steno devices",
}
INTERRUPTED = 130
SERVER_EXTRA = "this command needs the server's packages: pip install 'steno[server]'"

app = typer.Typer(
    help="Live speech to text over WebSockets with the Qwen3-ASR models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_defaults = ServerOptions()


def _plain(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text, "low": None, "high": None})


def _as_in(cls: type[SessionOptions | EngineOptions], name: str, default: Any = None) -> Any:
    """The same option, where None means that the other side decides."""
    return field(default=default, metadata=metadata_of(cls, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Connection and captions: what both `mic` and `stream` take."""

    url: str = _plain(f"ws://{_defaults.host}:{_defaults.port}", "server: host:port, or a ws(s) or http(s) address")
    api_key: str | None = _plain(None, "key that the server asks for")
    language: str | None = _as_in(SessionOptions, "language")
    languages: tuple[str, ...] = _as_in(SessionOptions, "languages", ())
    context: str = _as_in(SessionOptions, "context", "")
    interval_ms: int | None = _as_in(SessionOptions, "interval_ms")
    endpoint_ms: int | None = _as_in(SessionOptions, "endpoint_ms")
    words: bool = _plain(False, "ask for the times of words")
    partials: bool | None = _plain(None, "show text that may still change (default: on a terminal)")
    save: Path | None = _plain(None, "also write the finals: .srt, .vtt, .txt or .json")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineOptions:
    """Model and text: what `transcribe` takes."""

    model: str = _as_in(EngineOptions, "model", EngineOptions().model)
    device: str = _as_in(EngineOptions, "device", EngineOptions().device)
    dtype: str = _as_in(EngineOptions, "dtype", EngineOptions().dtype)
    window_s: int | None = _as_in(EngineOptions, "window_s")
    memory: str | None = _as_in(EngineOptions, "memory")
    language: str | None = _as_in(SessionOptions, "language")
    context: str = _as_in(SessionOptions, "context", "")


class OutputFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def _example(command: str) -> str:
    return f"Example:  {EXAMPLES[command]}"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"steno {importlib.metadata.version('steno')}")
        raise typer.Exit


@app.callback()
def _steno(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", is_eager=True, callback=_print_version)
    ] = False,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error", envvar=env_name("log_level"))
    ] = "warning",
) -> None:
    levels = logging.getLevelNamesMapping()
    if log_level.upper() not in levels:
        raise typer.BadParameter(f"{log_level!r}, expected debug, info, warning or error", param_hint="--log-level")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=levels[log_level.upper()])


@app.command(epilog=_example("serve"))
@with_flags(server=ServerOptions, engine=EngineOptions, session=SessionOptions)
def serve(server: ServerOptions, engine: EngineOptions, session: SessionOptions) -> None:
    """Run the server: load the model, listen, stop in good order at Ctrl-C or SIGTERM."""

    def announce(port: int) -> None:
        typer.echo(announcement(server, engine.model, port), err=True)

    with _errors_told():
        try:
            from .foreign_routes import foreign_routes
            from .server import serve as run_server
            from .wyoming_server import wyoming_servers
        except ModuleNotFoundError as error:
            _fail_without(error)
        status = run_server(
            server, session, engine, on_listening=announce, extra_routes=foreign_routes, beside=wyoming_servers
        )
    raise typer.Exit(status)


def announcement(server: ServerOptions, model: str, port: int) -> str:
    """What `serve` prints once clients may come: the addresses to open and the one line to try."""
    secure = "s" if server.tls_cert else ""
    host = "localhost" if server.host in ("127.0.0.1", "0.0.0.0", "::", "::1", "") else server.host
    plain = f"ws{secure}://{host}:{port}"
    url = "" if plain == f"ws://localhost:{_defaults.port}" else f" --url {plain}"
    return (
        f"steno is listening on {server.host}:{port} with the model {model}\n"
        f"  captions in a browser  http{secure}://{host}:{port}/\n"
        f"  WebSocket              {plain}/v1/stream\n"
        f"  try it                 steno mic{url}\n"
        f"                         steno stream FILE{url}\n"
        "Ctrl-C stops."
    )


@app.command(epilog=_example("mic"))
@with_flags(options=ClientOptions)
def mic(
    options: ClientOptions,
    device: Annotated[
        str | None,
        typer.Option(help="microphone: number, or part of a name, from `steno devices`", envvar=env_name("microphone")),
    ] = None,
) -> None:
    """Caption the microphone, until Ctrl-C."""
    with _errors_told():
        from steno.client.live import microphone_blocks
        from steno.client.microphone import Microphone, load_sounddevice

        chosen = int(device) if device is not None and device.isdigit() else device
        sound = load_sounddevice()

        async def run() -> None:
            async with _client(options) as client, Microphone(sound, device=chosen) as microphone:
                await _caption(client, microphone_blocks(microphone), options)

        asyncio.run(run())


@app.command(epilog=_example("stream"))
@with_flags(options=ClientOptions)
def stream(
    file: Annotated[Path, typer.Argument(help="any audio or video file; - reads standard input", allow_dash=True)],
    options: ClientOptions,
    speed: Annotated[float, typer.Option(help="2.0 sends twice as fast as it was spoken", min=0.01)] = 1.0,
) -> None:
    """Caption a file as if it were spoken now."""
    with _errors_told():
        from steno.client.live import check_audio_path, file_blocks

        source = sys.stdin.buffer if str(file) == "-" else file
        if isinstance(source, Path):
            check_audio_path(source)

        async def run() -> bool:
            async with _client(options) as client:
                return await _caption(client, file_blocks(source, speed=speed), options)

        interrupted = asyncio.run(run())
    if interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command(epilog=_example("transcribe"))
@with_flags(options=OfflineOptions)
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="any audio or video files")],
    options: OfflineOptions,
    output: Annotated[OutputFormat, typer.Option("--format", help="a line of text or of JSON for each file")] = (
        OutputFormat.TEXT
    ),
) -> None:
    """Transcribe whole files, without a server."""
    with _errors_told():
        try:
            from .offline import load_recognizer, transcribe_files
        except ModuleNotFoundError as error:
            _fail_without(error)
        recognizer = load_recognizer(
            options.model,
            device=options.device,
            dtype=options.dtype,
            window_s=options.window_s,
            memory=options.memory,
        )
        failed = transcribe_files(
            recognizer, files, language=options.language, context=options.context, as_json=output is OutputFormat.JSON
        )
    raise typer.Exit(1 if failed else 0)


@app.command(epilog=_example("devices"))
def devices() -> None:
    """List the microphones that `steno mic --device` can use."""
    with _errors_told():
        from steno.client.microphone import input_devices, load_sounddevice

        found = input_devices(load_sounddevice())
    if not found:
        _fail("no microphone was found")
    for each in found:
        mark = "*" if each.is_default else " "
        details = f"{each.host_api}, {each.channels} channels, {each.rate_hz} Hz"
        typer.echo(f"{mark} {each.index:3}  {each.name}  ({details})")


def main() -> None:
    """Entry point of the `steno` command."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _client(options: ClientOptions) -> "Client":
    """Not connected yet. Raises ValueError for an address or a file name that cannot be right."""
    from steno.client.client import Client
    from steno.client.live import check_save_path
    from steno.streaming.protocol import Start

    if options.save is not None:
        check_save_path(options.save)
    start = Start(
        language=options.language,
        languages=options.languages,
        context=options.context,
        interval_ms=options.interval_ms,
        endpoint_ms=options.endpoint_ms,
        words=options.words,
    )
    return Client(options.url, start, token=options.api_key)


async def _caption(client: "Client", audio: "AsyncIterator[MicrophoneBlock]", options: ClientOptions) -> bool:
    """Show and save captions until the audio ends, or Ctrl-C ends it; True for the latter.

    The first Ctrl-C ends the audio and waits for the last words; a second one waits for nothing.
    """
    from steno.client.captions import open_captions
    from steno.client.live import LiveRun, save

    loop = asyncio.get_running_loop()
    with open_captions(partials=options.partials) as captions:
        live = LiveRun(client, audio, captions)

        def interrupt() -> None:
            loop.remove_signal_handler(signal.SIGINT)  # the next one raises KeyboardInterrupt
            live.stop()

        with suppress(NotImplementedError):  # Windows: the first Ctrl-C is the last
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            await live.run()
        finally:
            if options.save is not None:
                save(options.save, live.finals)
    return live.stopped


@contextmanager
def _errors_told() -> Iterator[None]:
    """Errors that are the user's to mend: one line on standard error, exit status 1."""
    from steno.client.audio import AudioFileError
    from steno.client.connection import ClientError
    from steno.client.microphone import MicrophoneError

    try:
        yield
    except (ClientError, AudioFileError, MicrophoneError, OSError, ValueError) as error:
        _fail(str(error))


def _fail_without(error: ModuleNotFoundError) -> NoReturn:
    """A package of the server extra is missing; a missing module of our own is a bug and stays one."""
    if error.name is None or error.name.startswith("steno"):
        raise error
    _fail(f"{SERVER_EXTRA} (no {error.name} here)")


def _fail(message: str) -> NoReturn:
    typer.echo(f"steno: {message}", err=True)
    raise typer.Exit(1)
