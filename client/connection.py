"""One WebSocket to the server: from an address to `ready`, then frames out and messages in.

Knows addresses, the opening exchange and how to say in words what went wrong. Refuses to know reconnects, replay and
what the messages mean.
"""

import asyncio
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from steno.streaming.protocol import (
    Error,
    ProtocolError,
    Ready,
    ServerMessage,
    Start,
    decode_server,
    encode,
)

from .replay import Frame

DEFAULT_URL = "ws://127.0.0.1:8765/v1/stream"
STREAM_PATH = "/v1/stream"

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class ClientError(Exception):
    """The conversation cannot go on; the text is meant for the user."""


class CannotConnect(ClientError):
    """No session came about: nobody listens, not this protocol, or no access."""


class ServerError(ClientError):
    """The server ended the session with an `error` message."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"the server ended the session: {error.message} ({error.code})")
        self.code = error.code


class Broken(Exception):
    """The socket is gone; the text says how."""


class Connection:
    """An open socket on which the server has said `ready`."""

    def __init__(self, url: str, socket: ClientConnection, ready: Ready) -> None:
        self._url = url
        self._socket = socket
        self.ready = ready

    @classmethod
    async def open(cls, url: str, start: Start, *, token: str | None, timeout_s: float) -> Self:
        """Connect, say `start` and wait for `ready`. Raises CannotConnect or ServerError."""
        headers = {"Authorization": f"Bearer {token}"} if token else None
        try:
            async with asyncio.timeout(timeout_s):
                socket = await connect(url, additional_headers=headers, compression=None, close_timeout=2)
                try:
                    await socket.send(encode(start))
                    return cls(url, socket, _expect_ready(url, decode_server(await socket.recv())))
                except BaseException:
                    await socket.close()
                    raise
        except TimeoutError as error:
            raise CannotConnect(f"{url} did not answer within {timeout_s:g} s") from error
        except InvalidStatus as error:
            raise CannotConnect(f"{url} refused: {_status_words(error)}") from error
        except (InvalidHandshake, InvalidURI) as error:
            raise CannotConnect(f"{url} is no WebSocket server: {error}") from error
        except ConnectionClosed as error:
            raise CannotConnect(f"{url} did not start a session: {_close_words(error)}") from error
        except ProtocolError as error:
            raise CannotConnect(f"{url} does not speak this protocol: {error}") from error
        except OSError as error:
            refused = "Connect call failed" in str(error)  # asyncio's words, for one address or several
            reason = "nobody listens there" if refused else error.strerror or str(error)
            raise CannotConnect(f"cannot reach {url}: {reason}; is the server running (`steno serve`)?") from error

    async def send(self, frame: Frame) -> None:
        """Wait until the frame is on its way. Raises Broken."""
        try:
            await self._socket.send(frame if isinstance(frame, bytes) else encode(frame))
        except ConnectionClosed as closed:
            raise Broken(_close_words(closed)) from closed

    async def receive(self) -> ServerMessage:
        """The next message. Raises Broken, or ClientError for something that is none."""
        try:
            return decode_server(await self._socket.recv())
        except ConnectionClosed as closed:
            raise Broken(_close_words(closed)) from closed
        except ProtocolError as fault:
            raise ClientError(f"{self._url} sent something that is not this protocol: {fault}") from fault

    async def close(self) -> None:
        await self._socket.close()


def stream_url(address: str) -> str:
    """The address of the stream from what people type: `host`, `host:port`, http(s) or ws(s) URLs.

    Raises ValueError for another scheme or no host.
    """
    parts = urlsplit(address if "://" in address else f"ws://{address}")
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{address!r} is no address of a server, expected something like {DEFAULT_URL}")
    path = STREAM_PATH if parts.path in ("", "/") else parts.path
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def _expect_ready(url: str, answer: ServerMessage) -> Ready:
    match answer:
        case Ready():
            return answer
        case Error():
            raise ServerError(answer)
        case _:
            raise CannotConnect(f"{url} answered {type(answer).__name__} where ready was expected")


def _close_words(closed: ConnectionClosed) -> str:
    if closed.rcvd is None:
        return "it went away without a word"
    reason = f", {closed.rcvd.reason}" if closed.rcvd.reason else ""
    return f"the server closed it with code {closed.rcvd.code}{reason}"


def _status_words(error: InvalidStatus) -> str:
    body = (error.response.body or b"").decode(errors="replace").strip()
    return f"HTTP {error.response.status_code}" + (f", {body[:200]}" if body else "")
