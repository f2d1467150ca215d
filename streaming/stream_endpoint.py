"""`/v1/stream`: who may open a session, which session it is, and what becomes of it when the connection ends.

Knows the order of refusals and the waiting room. Refuses to know what flows on an accepted connection.
"""

import asyncio
import logging

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from .auth import SUBPROTOCOL, choose_subprotocol
from .connection import Connection, Outcome
from .live_session import LiveSession
from .protocol import CLOSE_NORMAL, Error, ErrorCode, ProtocolError, Start, decode_client, encode
from .service import Service, new_session_id
from .session import Session

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 10.0
"""How long an accepted connection may take to send its first message."""


async def stream_endpoint(websocket: WebSocket, service: Service) -> None:
    """Serve one connection, from the handshake to its end."""
    if not service.admits_origin(websocket.headers):
        service.metrics.sessions_refused.labels("origin").inc()
        await websocket.close()  # before the handshake: a stranger's page gets a bare 403
        return
    offered: list[str] = websocket.scope["subprotocols"]
    await websocket.accept(choose_subprotocol(offered, (SUBPROTOCOL,)))
    session_id = new_session_id()
    try:
        if not service.admits(websocket.headers, websocket.query_params, offered):
            service.metrics.sessions_refused.labels("key").inc()
            raise ProtocolError(ErrorCode.UNAUTHORIZED, "an API key is needed, or the one given is not known")
        with service.admission.session("stream", new=False):
            await _serve(websocket, service, session_id)
    except ProtocolError as error:
        await refuse(websocket, service, error)
    except WebSocketDisconnect as gone:
        service.metrics.sessions_closed.labels(str(gone.code)).inc()
    except Exception:  # the root of the connection's task
        logger.exception("session %s ended by a fault", session_id)
        service.metrics.internal_errors.inc()
        await refuse(websocket, service, ProtocolError(ErrorCode.INTERNAL, "the session failed"))


async def refuse(websocket: WebSocket, service: Service, error: ProtocolError) -> None:
    """Send `error` and close with its code."""
    service.metrics.faults.labels(error.code.value).inc()
    service.metrics.sessions_closed.labels(str(error.close_code)).inc()
    try:
        async with asyncio.timeout(service.server_options.send_timeout_s):
            await websocket.send_text(encode(Error(code=error.code, message=error.message)))
            await websocket.close(error.close_code, error.code.value)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        logger.debug("a refused client was gone before it could be told")


async def _serve(websocket: WebSocket, service: Service, session_id: str) -> None:
    first = await _first_event(websocket, service)
    start = _resuming(first)
    if start is None:
        service.admission.check_engine()
        token = service.waiting.new_token()
        live = _new_session(service, session_id, token)
    else:
        token = start.resume
        live = service.waiting.take(start)
    name = live.session.session_id
    logger.info("session %s: %s from %s", name, "resumed" if start else "opened", websocket.client)
    outcome = Outcome.CLOSED
    try:
        outcome = await Connection(websocket, live, service).run(first if start is None else None)
    finally:
        logger.info("session %s: connection %s", name, outcome.name.lower())
        _leave(service, live, token, outcome)


def _new_session(service: Service, session_id: str, token: str | None) -> LiveSession:
    session = Session(
        service.session_options,
        session_id=session_id,
        model=service.model,
        languages=service.languages,
        language_codes=service.language_codes,
        aligner=service.aligner,
        resume_token=token,
        resume_ttl_s=service.server_options.resume_ttl_s,
    )
    live = LiveSession(session, service.engine, service.metrics)
    if token is not None:
        service.waiting.hold(token, live)
    return live


def _leave(service: Service, live: LiveSession, token: str | None, outcome: Outcome) -> None:
    """The connection is over; the session may not be."""
    if outcome is Outcome.TAKEN:
        return
    session = live.session
    unharmed = session.close_code in (None, CLOSE_NORMAL)
    if outcome is Outcome.LOST and token is not None and session.resumable and unharmed:
        service.waiting.wait(token)
        return
    session.receive_eof()
    live.end()
    service.waiting.forget(token)
    service.metrics.sessions_closed.labels(str(session.close_code)).inc()


async def _first_event(websocket: WebSocket, service: Service) -> Message:
    """The first ASGI event after the handshake.

    Raises WebSocketDisconnect when the client left, ProtocolError when it says nothing or the server shuts down.
    """
    draining = asyncio.ensure_future(service.admission.draining.wait())
    event = asyncio.ensure_future(websocket.receive())
    try:
        await asyncio.wait((event, draining), timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not event.done():
            if draining.done():
                raise ProtocolError(ErrorCode.RESTARTING, "the server is shutting down, connect again soon")
            raise ProtocolError(ErrorCode.IDLE, f"no start came within {START_TIMEOUT_S:g} s")
    finally:
        draining.cancel()
        event.cancel()
    message = event.result()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return message


def _resuming(event: Message) -> Start | None:
    """The `start` that asks to resume a session, if the event is one."""
    try:
        message = decode_client(event.get("text") or "")
    except ProtocolError:
        return None  # the session will say what is wrong with it
    return message if isinstance(message, Start) and message.resume is not None else None
