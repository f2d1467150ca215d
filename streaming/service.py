"""What every endpoint of one server process shares: the engine, options, admission, keys, counters.

Made once by `server.py` and handed to each protocol's routes, so that no endpoint needs a global. Knows no protocol.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .admission import Admission
from .auth import Credentials, KeyRing, origin_admitted, read_keys
from .config import ServerOptions, SessionOptions
from .engine_door import EngineLike
from .metrics import Metrics
from .session import Session
from .waiting_room import WaitingRoom

DEFAULT_SESSIONS = 64
"""At a time, at least, where the options do not say."""


@dataclass(frozen=True, slots=True)
class Service:
    """The shared parts. `model` and `languages` (English names) are what `ready` tells the client; `language_codes`
    maps further names of them, as ISO codes, in lower case. `aligner`: whether finals may carry words.
    """

    engine: EngineLike
    model: str
    languages: tuple[str, ...]
    language_codes: Mapping[str, str]
    aligner: bool
    server_options: ServerOptions
    session_options: SessionOptions
    metrics: Metrics
    admission: Admission
    keys: KeyRing
    waiting: WaitingRoom

    def admits(self, headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str] = ()) -> bool:
        """Whether the request carries an accepted key (or none is needed)."""
        return self.keys.admits(Credentials(headers, query, subprotocols))

    def admits_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the page (if it is one) that asks may use this server."""
        return origin_admitted(headers.get("origin"), headers.get("host"), self.server_options.allow_origin)


def new_session_id() -> str:
    """Names a session in logs and in `ready`; random, so that it tells nothing of others."""
    return secrets.token_hex(8)


def new_session(service: Service, session_id: str, options: SessionOptions | None = None) -> Session:
    """A session that cannot be resumed; `options` in place of the server's."""
    return Session(
        service.session_options if options is None else options,
        session_id=session_id,
        model=service.model,
        languages=service.languages,
        language_codes=service.language_codes,
        aligner=service.aligner,
    )


def make_service(
    engine: EngineLike,
    metrics: Metrics,
    *,
    model: str,
    languages: tuple[str, ...],
    language_codes: Mapping[str, str],
    server_options: ServerOptions,
    session_options: SessionOptions,
    aligner: bool = False,
) -> Service:
    """Build the shared parts. Raises OSError or ValueError for a key file that cannot be used."""
    keys = list(server_options.api_key)
    if server_options.api_key_file is not None:
        keys += read_keys(Path(server_options.api_key_file))
    return Service(
        engine=engine,
        model=model,
        languages=languages,
        language_codes=language_codes,
        aligner=aligner,
        server_options=server_options,
        session_options=session_options,
        metrics=metrics,
        admission=Admission(server_options.max_sessions or _sessions_for(engine), metrics, engine.refusal),
        keys=KeyRing(keys),
        waiting=WaitingRoom(server_options.resume_ttl_s, server_options.max_detached, metrics),
    )


def _sessions_for(engine: EngineLike) -> int:
    """More than the slots: the engine refuses new sessions itself, and who comes back needs a connection."""
    return max(DEFAULT_SESSIONS, 2 * (engine.slots or 0))
