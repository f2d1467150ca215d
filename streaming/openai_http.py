"""OpenAI's HTTP endpoints: `POST /v1/audio/transcriptions` and `/v1/models`.

Knows requests, forms, limits and answers. Refuses to know how a form is judged (`transcription_request`), written
(`transcription_formats`) or a file recognised (`file_transcription`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import TypeVar

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .auth import Credentials
from .file_transcription import BLOCK_S, FileTranscription, file_options
from .openai_errors import SERVER_ERROR, OpenAIError, translated, unauthorized
from .protocol import Final, ProtocolError, Start
from .service import Service
from .transcription_formats import FORMATS, EventStream, FileTranscript
from .transcription_request import TranscriptionRequest, read_request
from .turn_detection import with_server_vad
from .uploaded_audio import AudioTooLong, UnreadableAudio, read_blocks
from .work import SAMPLE_RATE

logger = logging.getLogger(__name__)

LABEL = "openai_http"
SHORTEST_S = 0.1
_MAX_FIELDS = 500
_MAX_FIELD_BYTES = 1 << 16

_T = TypeVar("_T")
Handler = Callable[[Request, Service], Awaitable[Response]]


def http_routes(service: Service) -> list[BaseRoute]:
    """The endpoints, over the given service."""
    return [
        Route("/v1/audio/transcriptions", _TranscriptionApp(service), methods=["POST"]),
        Route("/v1/models", json_endpoint(service, _models)),
        Route("/v1/models/{name:path}", json_endpoint(service, _model)),
    ]


def json_endpoint(service: Service, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that checks key and origin first; whatever goes wrong is told as OpenAI's clients expect it."""

    async def endpoint(request: Request) -> Response:
        try:
            check_access(request, service)
            return await handle(request, service)
        except Exception as fault:  # the root of the request's task
            return _told(fault, request, service)

    return endpoint


def check_access(request: Request, service: Service) -> None:
    """Raises OpenAIError for a page of an origin that is not allowed, or without an accepted key."""
    if not service.admits_origin(request.headers):
        service.metrics.sessions_refused.labels("origin").inc()
        raise OpenAIError("this origin may not use this server", "origin_not_allowed", status=403)
    if not service.admits(request.headers, request.query_params):
        service.metrics.sessions_refused.labels("key").inc()
        raise unauthorized(any(Credentials(request.headers, request.query_params).keys()))


def _told(fault: Exception, request: Request, service: Service) -> Response:
    if isinstance(fault, OpenAIError):
        return fault.response()
    if isinstance(fault, ProtocolError):
        return translated(fault).response()
    logger.error("a request to %s failed", request.url.path, exc_info=fault)
    service.metrics.internal_errors.inc()
    return OpenAIError("The server had an error.", "internal_error", type=SERVER_ERROR, status=500).response()


async def _models(request: Request, service: Service) -> Response:
    return JSONResponse({"object": "list", "data": [_described(service)]})


async def _model(request: Request, service: Service) -> Response:
    name = request.path_params["name"]
    if name != service.model:
        raise OpenAIError(f"The model '{name}' does not exist", "model_not_found", "model", status=404)
    return JSONResponse(_described(service))


def _described(service: Service) -> dict[str, str | int]:
    return {"id": service.model, "object": "model", "created": 0, "owned_by": "steno"}


class _TranscriptionApp:
    """The ASGI app of one route: it holds its place and the uploaded file until the last byte is sent."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            check_access(request, self._service)
            with self._service.admission.session(LABEL), ExitStack() as cleanup:
                limited = Request(scope, _limited(receive, self._service))
                async with _form_of(limited) as form:
                    answer = await _unless_gone(receive, _answer(form, self._service, cleanup))
                    await answer(scope, receive, send)
        except ClientDisconnect:
            logger.debug("a client left before its file was transcribed")
        except Exception as fault:  # the root of the request's task
            await _told(fault, request, self._service)(scope, receive, send)


def _limited(receive: Receive, service: Service) -> Receive:
    """`receive` that gives up on a body that is too big or does not come."""
    limit = service.server_options.max_upload_mb << 20
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        try:
            async with asyncio.timeout(service.server_options.idle_timeout_s):
                message = await receive()
        except TimeoutError:
            raise OpenAIError("Timed out while the request was read.", "request_timeout", status=408) from None
        taken += len(message.get("body", b""))
        if taken > limit:
            message_text = f"Maximum content size limit ({limit}) exceeded ({taken} bytes read)"
            raise OpenAIError(message_text, "file_too_large", "file", status=413)
        return message

    return receive_some


class _form_of:
    """The form of a request, closed at the end. Raises OpenAIError for a body that is none."""

    def __init__(self, request: Request) -> None:
        self._request = request

    async def __aenter__(self) -> FormData:
        kind = self._request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            message = f"Content-Type is '{kind}', expected 'multipart/form-data'"
            raise OpenAIError(message, "unsupported_content_type", status=415)
        try:
            return await self._request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES)
        except HTTPException as fault:
            raise OpenAIError(f"the form cannot be read: {fault.detail}", "invalid_form") from fault

    async def __aexit__(self, *exception: object) -> None:
        await self._request.close()


async def _unless_gone(receive: Receive, answer: Coroutine[None, None, _T]) -> _T:
    """The answer; raises ClientDisconnect when the client leaves before it is ready."""
    working = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(form: FormData, service: Service, cleanup: ExitStack) -> ASGIApp:
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    asked = read_request(fields)
    job = _job(service, asked, _file(form))
    cleanup.callback(job.close)
    finals = _judged(job.finals(), service)
    if asked.stream:
        first = await anext(finals, None)
        events = _events(service, asked, job, first, finals)
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
    heard = [final async for final in finals]
    _check_length(job)
    written = FORMATS[asked.response_format]
    transcript = FileTranscript(
        heard, _duration_ms(job), _codes(service), asked.temperature, logprobs=asked.logprobs, words=asked.words
    )
    return Response(written.write(transcript), media_type=written.media_type)


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise OpenAIError("you must provide an audio file", "missing_required_parameter", "file")
    return file


def _job(service: Service, asked: TranscriptionRequest, file: UploadFile) -> FileTranscription:
    if asked.words and not service.aligner:
        message = "word times need a forced aligner, and this server has none"
        raise OpenAIError(message, "unsupported_value", "timestamp_granularities")
    longest_s = service.server_options.max_upload_s
    options = file_options(service.session_options, longest_s)
    chunking = asked.chunking
    if chunking is not None:
        try:
            options = with_server_vad(
                options,
                threshold=chunking.threshold,
                prefix_padding_ms=chunking.prefix_padding_ms,
                silence_duration_ms=chunking.silence_duration_ms,
            )
        except ValueError as fault:
            raise OpenAIError(str(fault), "invalid_value", "chunking_strategy") from fault
    start = Start(
        language=asked.language,
        languages=asked.languages,
        context=asked.context,
        logprobs=asked.logprobs,
        words=asked.words,
    )
    blocks = read_blocks(file.file, block_samples=BLOCK_S * SAMPLE_RATE, max_samples=longest_s * SAMPLE_RATE)
    return FileTranscription(service, options, start, blocks, one_piece=chunking is None and not asked.timed)


async def _judged(finals: AsyncIterator[Final], service: Service) -> AsyncIterator[Final]:
    """`finals`, with what is wrong about the file told in OpenAI's words."""
    try:
        async for final in finals:
            yield final
    except UnreadableAudio as fault:
        message = f"Audio file might be corrupted or unsupported: {fault}"
        raise OpenAIError(message, "invalid_value", "file") from fault
    except AudioTooLong as fault:
        limit = service.server_options.max_upload_s
        message = f"audio duration is longer than {limit} seconds which is the maximum for this server"
        raise OpenAIError(message, "audio_too_long", "file") from fault


def _check_length(job: FileTranscription) -> None:
    if job.samples < SHORTEST_S * SAMPLE_RATE:
        message = f"Audio file is too short. Minimum audio length is {SHORTEST_S} seconds."
        raise OpenAIError(message, "audio_too_short", "file")


async def _events(
    service: Service, asked: TranscriptionRequest, job: FileTranscription, first: Final | None,
    finals: AsyncIterator[Final],
) -> AsyncIterator[str]:  # fmt: skip
    told = EventStream(segments=asked.response_format == "verbose_json", logprobs=asked.logprobs)
    try:
        if first is not None:
            yield told.final(first)
        async for final in finals:
            yield told.final(final)
        yield told.done(_duration_ms(job), _codes(service))
    except OpenAIError as error:
        yield told.error(error.detail())
    except ProtocolError as error:
        yield told.error(translated(error).detail())


def _duration_ms(job: FileTranscription) -> int:
    return job.samples * 1000 // SAMPLE_RATE


def _codes(service: Service) -> dict[str, str]:
    """ISO code by English name."""
    return {name: code for code, name in service.language_codes.items()}
