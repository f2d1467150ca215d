"""API keys and browser origins: who may use the server.

Knows where the clients of each protocol put their key (a table) and how keys are compared. Refuses to know
sessions, and what refusal looks like on any wire: callers answer in their own protocol's words.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SUBPROTOCOL = "steno.v1"
"""The WebSocket sub-protocol of `/v1/stream`. Offering it is optional."""

KEY_HEADERS = ("api-key", "x-api-key", "xi-api-key")
KEY_QUERY_FIELDS = ("api_key", "api-key", "token")
KEY_SUBPROTOCOLS = ("steno-key.", "openai-insecure-api-key.")
"""Browsers cannot set headers on a WebSocket: the key follows one of these prefixes in an offered sub-protocol."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request carries that may hold a key. Header names are lower case."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    subprotocols: Sequence[str] = ()

    def keys(self) -> Iterator[str]:
        """Every key presented, in whatever place."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() in ("bearer", "token", "apikey"):
            yield value.strip()
        yield from (self.headers[name] for name in KEY_HEADERS if name in self.headers)
        yield from (self.query[name] for name in KEY_QUERY_FIELDS if name in self.query)
        for offered in self.subprotocols:
            for prefix in KEY_SUBPROTOCOLS:
                if offered.startswith(prefix):
                    yield offered.removeprefix(prefix)


class KeyRing:
    """The accepted keys, kept as digests. Without any key everybody is admitted."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """Raises ValueError for an empty key."""
        self._digests = tuple(_digest(key) for key in keys)
        if _digest("") in self._digests:
            raise ValueError("an API key is empty, expected at least one character")

    @property
    def open(self) -> bool:
        """True when no key is needed."""
        return not self._digests

    def derived_secret(self, purpose: str) -> bytes:
        """A secret that whoever has the same keys derives too; without keys a random one."""
        if self.open:
            return secrets.token_bytes(32)
        return hmac.digest(b"".join(sorted(self._digests)), purpose.encode(), "sha256")

    def admits(self, credentials: Credentials) -> bool:
        """Whether one of the presented keys is accepted. The time taken does not depend on how much of it fits."""
        if self.open:
            return True
        fits = [hmac.compare_digest(_digest(key), accepted) for key in credentials.keys() for accepted in self._digests]
        return any(fits)


def read_keys(path: Path) -> list[str]:
    """Keys of a file, one per line; empty lines and lines starting with `#` do not count.

    Raises OSError when it cannot be read, ValueError when it has no key.
    """
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError(f"{path} has no API key, expected one per line")
    return keys


def choose_subprotocol(offered: Sequence[str], known: Sequence[str]) -> str | None:
    """The sub-protocol to answer with: the first offered one that we know, else the first that carries a key.

    A browser fails the connection when it offered some and none is chosen.
    """
    for name in offered:
        if name in known:
            return name
    return next((name for name in offered if name.startswith(KEY_SUBPROTOCOLS)), None)


def origin_admitted(origin: str | None, host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a browser page of `origin` may connect to us at `host` (the Host header).

    Programs send no Origin; our own page has our host; any other page must be in `allowed` (`*`: all). This keeps a
    stranger's page from using the server of somebody who runs it on their own machine.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    return host is not None and urlsplit(origin).netloc.lower() == host.lower()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
