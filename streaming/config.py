"""Every option once: frozen dataclasses whose fields carry their help text.

Command line flags, `STENO_*` variables and query fields derive from these fields (`option_help`,
`from_strings`); nothing else in the tree states a default. Knows names, types, bounds; refuses to
know what the options do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

_T = TypeVar("_T")
_Options = TypeVar("_Options", bound="SessionOptions | ServerOptions | EngineOptions")


def _option(default: _T, help_text: str, *, low: float | None = None, high: float | None = None) -> _T:
    return field(default=default, metadata={"help": help_text, "low": low, "high": high})


def check_bounds(options: "SessionOptions | ServerOptions | EngineOptions") -> None:
    """Compare each numeric field with its bounds.

    Raises:
        ValueError: names the field, the value and the bounds.
    """
    for each in fields(options):
        value: object = object.__getattribute__(options, each.name)
        low: float | None = each.metadata["low"]
        high: float | None = each.metadata["high"]
        if not isinstance(value, int | float):
            continue
        if not ((low is None or value >= low) and (high is None or value <= high)):  # NaN fails too
            limit = f"at least {low}" if high is None else f"{low} to {high}"
            raise ValueError(f"{each.name} is {value}, expected {limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How one session hears, cuts and shows. The first block may be overridden by the client's
    `start`.
    """

    language: str | None = _option(None, "force this language (English name or code)")
    languages: tuple[str, ...] = _option((), "allow only these languages")
    context: str = _option("", "text or hot words given to the model as context")
    interval_ms: int = _option(500, "time between partials", low=100, high=10_000)
    endpoint_ms: int = _option(600, "silence that ends a segment", low=100, high=10_000)

    max_context_chars: int = _option(2000, "longest context that a client may send", low=0)
    vad_aggressiveness: int = _option(2, "webrtcvad's, 0 (lets most through) to 3", low=0, high=3)
    vad_margin_db: float = _option(6.0, "how far above the background a sound must be", low=0.0, high=40.0)
    pre_roll_ms: int = _option(300, "audio kept from before the first speech frame", low=0, high=2000)
    post_roll_ms: int = _option(200, "audio kept from after the last speech frame", low=0, high=2000)
    min_speech_ms: int = _option(100, "speech needed to open a segment", low=20, high=500)
    max_segment_ms: int = _option(30_000, "longest segment", low=5000, high=120_000)
    cut_search_ms: int = _option(
        4000, "before the longest segment is reached, look for the quietest point this long",
        low=0, high=30_000,
    )  # fmt: skip
    commit_agreement: int = _option(2, "hypotheses in a row that must agree on committed text", low=1, high=10)
    commit_hold_back_ms: int = _option(
        500, "audio that must have followed since text first appeared", low=0, high=10_000
    )
    max_message_bytes: int = _option(1 << 20, "largest message of a client", low=1024)
    max_session_s: int = _option(4 * 3600, "longest session, in stream time", low=1)
    max_backlog_ms: int = _option(60_000, "audio received and not yet transcribed, at most", low=30_000)
    max_waiting: int = _option(256, "segments waiting for their final, at most", low=1)
    max_outbox: int = _option(1000, "messages kept for a client that does not read", low=16)
    max_retained: int = _option(256, "sent messages kept for a client that comes back", low=16)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.max_backlog_ms < 2 * self.max_segment_ms:
            raise ValueError(
                f"max_backlog_ms is {self.max_backlog_ms}, expected at least twice max_segment_ms "
                f"({self.max_segment_ms}): else a client may wait for the end of a segment that it is not let send"
            )
        if self.cut_search_ms >= self.max_segment_ms:
            raise ValueError(
                f"cut_search_ms is {self.cut_search_ms}, expected less than max_segment_ms ({self.max_segment_ms})"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The socket side: addresses, admission, patience."""

    host: str = _option("127.0.0.1", "address to listen on")
    port: int = _option(8765, "port to listen on; 0 takes a free one", low=0, high=65535)
    api_key: tuple[str, ...] = _option((), "key that admits a client (repeatable); none: all are admitted")
    api_key_file: str | None = _option(None, "file with more such keys, one per line")
    allow_origin: tuple[str, ...] = _option((), "origin of web pages that may connect too (repeatable); '*' for all")
    tls_cert: str | None = _option(None, "PEM certificate file; serves https and wss")
    tls_key: str | None = _option(None, "PEM key file of the certificate")
    max_sessions: int | None = _option(
        None, "sessions at a time; None: 64, or what an accelerator has slots for", low=1
    )
    idle_timeout_s: float = _option(60.0, "a client silent for this long is closed", low=0.1)
    ping_interval_s: float = _option(20.0, "time between pings; a client that does not answer is cut", low=0.01)
    max_ahead_ms: int = _option(60_000, "how far a client's audio may run ahead of the clock; 0: no bound", low=0)
    send_timeout_s: float = _option(20.0, "a client that does not read for this long is closed", low=0.1)
    drain_timeout_s: float = _option(20.0, "patience for open utterances at shutdown", low=0.0)
    resume_ttl_s: int = _option(30, "how long a dropped session waits for its client; 0: no resume", low=0)
    max_detached: int = _option(64, "dropped sessions kept waiting at a time", low=0)
    metrics: bool = _option(True, "serve /metrics")
    wyoming_port: int | None = _option(None, "also serve Wyoming (Home Assistant) on this port", low=0, high=65535)
    wyoming_host: str | None = _option(None, "address of Wyoming's port; needed beside keys, which it cannot ask for")
    wyoming_socket: str | None = _option(None, "also serve Wyoming on a unix socket with this path")
    max_upload_mb: int = _option(100, "largest request with an audio file", low=1)
    max_upload_s: int = _option(2 * 3600, "longest audio in an uploaded file", low=1)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The model thread: what it loads and how much it takes on."""

    model: str = _option("tiny", "model: 'tiny' (bundled), a folder, or a hub name")
    aligner: str | None = _option(None, "forced aligner for word times: a folder or a hub name; None: no word times")
    device: str = _option("auto", "cpu, cuda, cuda:N or auto")
    dtype: str = _option("auto", "float32, bfloat16, float16, int8 (CPU) or auto")
    window_s: int | None = _option(None, "encoder window in seconds, 1 to 8; None: the model's")
    context_limit_s: int | None = _option(
        None, "of longer utterances the decoder is given this much audio at most; None: all of it", low=8
    )
    memory: str | None = _option(None, "memory to take on an accelerator in all, as 8GiB; None: what is free")
    threads: int | None = _option(None, "processor cores for the model on a CPU; None: all", low=1)
    max_batch: int | None = _option(
        None, "streams stepped in one pass; None: 32 on a CPU, 128 on an accelerator", low=1
    )
    step_budget_ms: int | None = _option(
        None, "how long one step over updates should take at most; None: 250 on a CPU, 100 on an accelerator", low=10
    )
    max_inbox: int = _option(8192, "work items of one session waiting for the model thread, at most", low=16)
    max_interval_ms: int = _option(4000, "under load, partials are spaced up to this far apart", low=100)
    warm_up: bool = _option(True, "run the model once before the first client")

    def __post_init__(self) -> None:
        check_bounds(self)


def option_help(cls: type[_Options]) -> dict[str, str]:
    """Help text by field name, in the order of declaration."""
    return {each.name: each.metadata["help"] for each in fields(cls)}


def from_strings(cls: type[_Options], values: Mapping[str, str], base: _Options | None = None) -> _Options:
    """Options from named strings (query fields, environment); fields not named keep those of
    `base`.

    Booleans are 1/0, true/false, yes/no, on/off; tuples are comma separated; "" is None where None
    is allowed.

    Raises:
        ValueError: an unknown name, or a value that does not parse or is out of bounds.
    """
    hints = get_type_hints(cls)
    known = {each.name for each in fields(cls)}
    changes: dict[str, Any] = {}
    for name, text in values.items():
        if name not in known:
            raise ValueError(f"no option {name!r}, expected one of {', '.join(sorted(known))}")
        changes[name] = _parse(name, text, hints[name])
    return replace(cls() if base is None else base, **changes)


_BOOLEANS = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


def _parse(name: str, text: str, hint: object) -> object:
    alternatives = get_args(hint) or (hint,)
    if NoneType in alternatives and text == "":
        return None
    if hint == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    kind = next(each for each in alternatives if each is not NoneType)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{name} is {text!r}, expected true or false")
        return _BOOLEANS[text.lower()]
    if kind is int or kind is float:
        try:
            return kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ValueError(f"{name} is {text!r}, expected {wanted}") from None
    return text
