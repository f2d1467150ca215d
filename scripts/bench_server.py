"""Many paced sessions of real speech on the real socket: is every final there and right, how late is what.

    python scripts/bench_server.py models/tiny/samples --sessions 32 --seconds 60 --json build/bench_server.json

Starts a server in a process of its own (or takes the one at `--port`), strings the clips into tracks with silences
between them, and

1. plays each track once, alone and as fast as the server takes it: the reference;
2. plays all sessions at once at the speed of speech, packet by packet, starts spread over one update interval.

Latencies are by the speaker's clock: a sample is spoken at (start of the session + its position). Percentiles in ms.

* `partial_lag`: from the end of the audio that a partial covers to the arrival of the partial.
* `first_partial`: from the start of a segment (pre-roll included) to its first partial with text.
* `final_after_speech`: from the last audio of a segment (post-roll included) to its final; holds the endpoint silence.
* `final_after_endpoint`: from the arrival of `speech_end` to that of `final`: what the model adds.
* `cpu`: user and system time of the server process in step 2, in cores, and as a share of all cores.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from steno.client.audio import read_audio, to_pcm16
from steno.streaming.protocol import (
    Done,
    Error,
    Final,
    Notice,
    Partial,
    Ready,
    ServerMessage,
    SpeechEnd,
    SpeechStart,
    Start,
    Stop,
    decode_server,
    encode,
)

SAMPLE_RATE = 16_000
SUFFIXES = (".opus", ".wav", ".flac", ".mp3", ".ogg")
PERCENTILES = (50, 90, 95, 99, 100)

SERVER = """
import sys
import msgspec
from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions
from steno.streaming.server import serve

options = msgspec.json.decode(sys.argv[1])
sys.exit(serve(
    ServerOptions(port=0, max_ahead_ms=0, **options["server"]),
    SessionOptions(**options["session"]),
    EngineOptions(**options["engine"]),
    on_listening=lambda port: print(port, flush=True),
))
"""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Heard:
    """One final, as it is compared."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class Playback:
    """What came back in one session; lags in seconds."""

    finals: list[Heard] = field(default_factory=list)
    partials: int = 0
    partial_lag: list[float] = field(default_factory=list)
    first_partial: list[float] = field(default_factory=list)
    final_after_speech: list[float] = field(default_factory=list)
    final_after_endpoint: list[float] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    error: str | None = None


def tracks_of(folder: Path, count: int, seconds: float, seed: int) -> list[NDArray[np.float32]]:
    """`count` tracks of `seconds`: the folder's clips in a different order each, 0.8 to 1.6 s of near silence between.

    Raises ValueError for a folder without clips.
    """
    clips = [read_audio(path) for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES]
    if not clips:
        raise ValueError(f"{folder} has no audio, expected files ending in {', '.join(SUFFIXES)}")
    rng = np.random.default_rng(seed)
    wanted = round(seconds * SAMPLE_RATE)
    tracks = []
    for _ in range(count):
        pieces: list[NDArray[np.float32]] = []
        while sum(map(len, pieces)) < wanted:
            for index in rng.permutation(len(clips)):
                pause = round(rng.uniform(0.8, 1.6) * SAMPLE_RATE)
                noise = (rng.standard_normal(pause) * 1e-4).astype(np.float32)
                pieces += [noise, clips[index]]
        tail = np.zeros(SAMPLE_RATE, np.float32)
        tracks.append(np.concatenate(pieces)[:wanted].astype(np.float32, copy=False))
        tracks[-1][-len(tail) :] = tail  # the last clip may be cut short, but it ends in silence
    return tracks


async def play(url: str, track: NDArray[np.float32], *, packet_ms: int, start_after_s: float, paced: bool) -> Playback:
    """Send one track and read to the end."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(start_after_s)
    packet = packet_ms * SAMPLE_RATE // 1000
    async with connect(url, compression=None, max_queue=None) as client:
        await client.send(encode(Start()))
        ready = decode_server(await client.recv())
        if not isinstance(ready, Ready):
            return Playback(error=f"no ready but {ready}")
        began = loop.time()

        async def speak() -> None:
            for begin in range(0, len(track), packet):
                piece = track[begin : begin + packet]
                if paced:
                    await asyncio.sleep(max(0.0, began + (begin + len(piece)) / SAMPLE_RATE - loop.time()))
                await client.send(to_pcm16(piece))
            await client.send(encode(Stop()))

        speaker = asyncio.create_task(speak())
        listener = Listener(began)
        try:
            while not listener.over:
                listener.receive(decode_server(await client.recv()), loop.time())
        except ConnectionClosed as closed:
            listener.playback.error = f"closed: {closed}"
        finally:
            speaker.cancel()
    return listener.playback


class Listener:
    """Turns messages and their arrival into a `Playback`."""

    def __init__(self, began: float) -> None:
        self.playback = Playback()
        self.over = False
        self._began = began
        self._started: dict[int, int] = {}
        self._ended: dict[int, float] = {}

    def receive(self, message: ServerMessage, now: float) -> None:
        """`now`: seconds of the clock of which `began` is an instant."""
        playback = self.playback
        match message:
            case SpeechStart(segment=segment, at_ms=at_ms):
                self._started[segment] = at_ms
            case Partial(segment=segment, end_ms=end_ms):
                playback.partials += 1
                playback.partial_lag.append(self._late(end_ms, now))
                if segment in self._started and message.committed + message.tentative:
                    playback.first_partial.append(self._late(self._started.pop(segment), now))
            case SpeechEnd(segment=segment):
                self._ended[segment] = now
            case Final(segment=segment, text=text, start_ms=start_ms, end_ms=end_ms):
                playback.finals.append(Heard(text, start_ms, end_ms))
                playback.final_after_speech.append(self._late(end_ms, now))
                playback.final_after_endpoint.append(now - self._ended[segment])
            case Notice(code=code):
                playback.notices.append(code.value)
            case Error(code=error, message=text):
                playback.error = f"{error.value}: {text}"
                self.over = True
            case Done():
                self.over = True

    def _late(self, at_ms: int, now: float) -> float:
        return now - (self._began + at_ms / 1000)


@contextmanager
def server_process(options: dict[str, dict[str, Json]], threads: int | None) -> Iterator[tuple[int, int]]:
    """A server of our own: (process id, port)."""
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(options)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server ended with status {process.wait()} before it listened")
            yield process.pid, int(line)
        finally:
            process.terminate()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def percentiles_ms(values: Sequence[float]) -> dict[str, Json]:
    """Count and percentiles, in ms."""
    if not values:
        return {"count": 0}
    found = np.percentile(values, PERCENTILES) * 1000
    return {"count": len(values)} | {
        f"p{rank}" if rank < 100 else "max": round(float(value), 1)
        for rank, value in zip(PERCENTILES, found, strict=True)
    }


def compare(played: Sequence[Playback], references: Sequence[Playback]) -> dict[str, Json]:
    """Finals of the paced sessions against those of the reference of their track."""
    differing: list[Json] = []
    finals = right = expected = 0
    for number, playback in enumerate(played):
        reference = references[number % len(references)]
        finals += len(playback.finals)
        expected += len(reference.finals)
        right += sum(a == b for a, b in zip(playback.finals, reference.finals, strict=False))
        if playback.finals != reference.finals:
            pairs = zip(playback.finals, reference.finals, strict=False)
            first = next(((a, b) for a, b in pairs if a != b), None)
            differing.append({"session": number, "first": None if first is None else [str(each) for each in first]})
    return {
        "finals": finals,
        "expected": expected,
        "equal": right,
        "sessions_equal": len(played) - len(differing),
        "differing": differing[:10],
        "words": sum(len(final.text.split()) for playback in played for final in playback.finals),
    }


async def play_all(arguments: argparse.Namespace, url: str, tracks: Sequence[NDArray[np.float32]]) -> list[Playback]:
    """All sessions, paced, starts spread over one update interval."""
    interval_s = arguments.interval_ms / 1000
    return await asyncio.gather(
        *(
            play(
                url,
                tracks[number % len(tracks)],
                packet_ms=arguments.packet_ms,
                start_after_s=interval_s * number / arguments.sessions,
                paced=True,
            )
            for number in range(arguments.sessions)
        )
    )


async def play_references(packet_ms: int, url: str, tracks: Sequence[NDArray[np.float32]]) -> list[Playback]:
    """Each track by itself, as fast as it goes."""
    return [await play(url, track, packet_ms=packet_ms, start_after_s=0.0, paced=False) for track in tracks]


def measured(arguments: argparse.Namespace, pid: int | None, port: int) -> dict[str, Json]:
    """Both steps; the report."""
    url = f"ws://{arguments.host}:{port}/v1/stream"
    tracks = tracks_of(arguments.clips, min(arguments.tracks, arguments.sessions), arguments.seconds, arguments.seed)
    references = asyncio.run(play_references(arguments.packet_ms, url, tracks))
    before = cpu_seconds(pid) if pid is not None else 0.0
    memory = resident_mib(pid) if pid is not None else 0.0
    own = sum(os.times()[:2])
    began = os.times().elapsed
    played = asyncio.run(play_all(arguments, url, tracks))
    wall = os.times().elapsed - began
    metrics = urlopen(f"http://{arguments.host}:{port}/metrics").read().decode()
    report: dict[str, Json] = {
        "finals": compare(played, references),
        "errors": [playback.error for playback in [*references, *played] if playback.error is not None],
        "notices": {
            code: sum(playback.notices.count(code) for playback in played)
            for code in sorted({code for playback in played for code in playback.notices})
        },
        "partials": sum(playback.partials for playback in played),
        "latency_ms": {
            name: percentiles_ms([value for playback in played for value in values(playback)])
            for name, values in LATENCIES.items()
        },
        "wall_s": round(wall, 1),
        "client_cpu_cores": round((sum(os.times()[:2]) - own) / wall, 3),
        "metrics": {
            line.split()[0]: float(line.split()[1])
            for line in metrics.splitlines()
            if line.startswith(METRICS) and "_bucket" not in line and "_created" not in line
        },
    }
    if pid is not None:
        cores = (cpu_seconds(pid) - before) / wall
        report["cpu"] = {
            "cores": round(cores, 3),
            "share": round(cores / (os.cpu_count() or 1), 3),
            "of": os.cpu_count(),
            "other_load": round(os.getloadavg()[0] - cores, 2),
        }
        report["memory_mib"] = {"before": round(memory, 1), "after": round(resident_mib(pid), 1)}
    return report


LATENCIES: dict[str, Callable[[Playback], list[float]]] = {
    "partial_lag": lambda playback: playback.partial_lag,
    "first_partial": lambda playback: playback.first_partial,
    "final_after_speech": lambda playback: playback.final_after_speech,
    "final_after_endpoint": lambda playback: playback.final_after_endpoint,
}
METRICS = (
    "steno_batch",
    "steno_step_seconds",
    "steno_interval",
    "steno_partial_wait",
    "steno_final_wait",
    "steno_stream",
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("clips", type=Path, help="folder of recordings")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--tracks", type=int, default=8, help="different tracks; sessions take them in turn")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a track")
    parser.add_argument("--interval-ms", type=int, default=500)
    parser.add_argument("--packet-ms", type=int, default=40)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of the server")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="of a server that runs already (no CPU share then)")
    parser.add_argument("--json", type=Path, help="also write the report here")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if arguments.port is not None:
        report = measured(arguments, None, arguments.port)
    else:
        options: dict[str, dict[str, Json]] = {
            "server": {"max_sessions": arguments.sessions + 1},
            "session": {"interval_ms": arguments.interval_ms},
            "engine": {
                "model": arguments.model,
                "device": arguments.device,
                "dtype": arguments.dtype,
                "max_batch": arguments.max_batch,
            },
        }
        with server_process(options, arguments.threads) as (pid, port):
            report = measured(arguments, pid, port)
    report = {
        "command": "python " + " ".join(sys.argv),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "sessions": arguments.sessions,
        **report,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n")
    finals = report["finals"]
    assert isinstance(finals, dict)
    return 0 if finals["equal"] == finals["expected"] == finals["finals"] and not report["errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
