"""`/v1/realtime`, its alias for DashScope's clients, and the keys for it: who may connect, with which session.

Knows handshakes, keys and refusals. Refuses to know events (`openai_realtime`) and frames (`dialog_connection`).
"""

import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .auth import Credentials, choose_subprotocol
from .dialog_connection import DialogConnection
from .ephemeral_keys import EphemeralKeys
from .openai_errors import SERVER_ERROR, OpenAIError, translated, unauthorized
from .openai_http import json_endpoint
from .openai_realtime import RealtimeDialog
from .openai_session import DASHSCOPE_RATE, RealtimeConfig, read_patch
from .protocol import ProtocolError
from .service import Service, new_session, new_session_id

logger = logging.getLogger(__name__)

LABEL = "openai_realtime"
SUBPROTOCOL = "realtime"

_LIFE_S = 600
_LIFE_BOUNDS_S = (10, 7200)
_MAX_BODY_BYTES = 16_384


class _ExpiresAfter(msgspec.Struct, frozen=True):
    seconds: int = _LIFE_S
    anchor: str = "created_at"


class _SecretRequest(msgspec.Struct, frozen=True):
    expires_after: _ExpiresAfter = _ExpiresAfter()
    session: msgspec.Raw = msgspec.Raw(b"{}")


def realtime_routes(service: Service) -> list[BaseRoute]:
    """The endpoints, over the given service."""
    ephemeral = EphemeralKeys(service.keys.derived_secret("ephemeral keys"))

    async def connect(websocket: WebSocket) -> None:
        await _serve(websocket, service, ephemeral)

    async def connect_dashscope(websocket: WebSocket) -> None:
        await _serve(websocket, service, ephemeral, dashscope=True)

    async def client_secrets(request: Request, service: Service) -> Response:
        asked = _decoded(await _body(request))
        seconds = asked.expires_after.seconds
        if not _LIFE_BOUNDS_S[0] <= seconds <= _LIFE_BOUNDS_S[1]:
            message = f"expires_after.seconds is {seconds}, expected {_LIFE_BOUNDS_S[0]} to {_LIFE_BOUNDS_S[1]}"
            raise OpenAIError(message, "invalid_value", "expires_after.seconds")
        told, expires_at = _described(service, bytes(asked.session), seconds)
        value = ephemeral.issue(bytes(asked.session), expires_at)
        return JSONResponse({"value": value, "expires_at": expires_at, "session": told})

    async def transcription_sessions(request: Request, service: Service) -> Response:
        session = await _body(request) or b"{}"
        told, expires_at = _described(service, session, _LIFE_S)
        value = ephemeral.issue(session, expires_at)
        return JSONResponse({**told, "client_secret": {"value": value, "expires_at": expires_at}})

    return [
        WebSocketRoute("/v1/realtime", connect),
        WebSocketRoute("/api-ws/v1/realtime", connect_dashscope),
        Route("/v1/realtime/client_secrets", json_endpoint(service, client_secrets), methods=["POST"]),
        Route("/v1/realtime/transcription_sessions", json_endpoint(service, transcription_sessions), methods=["POST"]),
    ]


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            raise OpenAIError(f"the body is longer than {_MAX_BODY_BYTES} bytes", "body_too_large", status=413)
    return body


def _decoded(body: bytes) -> _SecretRequest:
    try:
        return msgspec.json.decode(body or b"{}", type=_SecretRequest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise OpenAIError(f"Could not parse the body: {fault}", "invalid_json") from fault


def _described(service: Service, session: bytes, life_s: int) -> tuple[dict[str, object], int]:
    """The session object of an answer, and when its key expires. Raises OpenAIError for a session that is not good."""
    config = RealtimeConfig().patched(read_patch(session))
    config.options(service.session_options)
    expires_at = int(time.time()) + life_s
    return config.as_session(f"sess_{new_session_id()}", expires_at, service.session_options), expires_at


async def _serve(websocket: WebSocket, service: Service, ephemeral: EphemeralKeys, *, dashscope: bool = False) -> None:
    session_id = new_session_id()
    offered: list[str] = websocket.scope["subprotocols"]
    credentials = Credentials(websocket.headers, websocket.query_params, offered)
    try:
        if not service.admits_origin(websocket.headers):
            service.metrics.sessions_refused.labels("origin").inc()
            raise OpenAIError("this origin may not use this server", "origin_not_allowed", status=403)
        config = _admitted(service, ephemeral, credentials)
        if dashscope:
            config = replace(config, rate=DASHSCOPE_RATE, flat=True)
        with service.admission.session(LABEL):
            await websocket.accept(choose_subprotocol(offered, (SUBPROTOCOL,)))
            dialog = RealtimeDialog(
                new_session(service, session_id),
                service.session_options,
                {name: code for code, name in service.language_codes.items()},
                config=_with_model(config, websocket.query_params.get("model")),
                new_id=lambda kind: f"{kind}_{secrets.token_hex(10)}",
                now_s=int(time.time()),
                dashscope=dashscope,
            )
            await DialogConnection(websocket, dialog, service).run()
    except OpenAIError as refusal:
        await _refuse(websocket, refusal)
    except ProtocolError as refusal:
        await _refuse(websocket, translated(refusal))
    except WebSocketDisconnect as gone:
        service.metrics.sessions_closed.labels(str(gone.code)).inc()
    except Exception:  # the root of the connection's task
        logger.exception("session %s ended by a fault", session_id)
        service.metrics.internal_errors.inc()
        await _refuse(websocket, OpenAIError("The server had an error.", "internal_error", None, SERVER_ERROR, 500))


def _admitted(service: Service, ephemeral: EphemeralKeys, credentials: Credentials) -> RealtimeConfig:
    """The session that the presented key carries, or the default one. Raises OpenAIError for an unknown key."""
    presented = list(credentials.keys())
    for session in _carried(ephemeral, presented):
        return RealtimeConfig().patched(read_patch(session))
    if not service.keys.admits(credentials):
        service.metrics.sessions_refused.labels("key").inc()
        raise unauthorized(bool(presented))
    return RealtimeConfig()


def _carried(ephemeral: EphemeralKeys, presented: list[str]) -> Iterator[bytes]:
    for key in presented:
        session = ephemeral.open(key, time.time())
        if session is not None:
            yield session


def _with_model(config: RealtimeConfig, model: str | None) -> RealtimeConfig:
    return config if model is None or config.model is not None else replace(config, model=model)


async def _refuse(websocket: WebSocket, refusal: OpenAIError) -> None:
    """Before the handshake as an HTTP answer, after it by closing."""
    try:
        if websocket.application_state.name == "CONNECTING":
            await websocket.send_denial_response(refusal.response())
        else:
            await websocket.close(1011, refusal.code or "")
    except (WebSocketDisconnect, RuntimeError):
        logger.debug("a refused client was gone before it could be told")
