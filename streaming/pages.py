"""The captions page and its files, as they lie in `web/`.

Knows which file types a browser may fetch and the headers that go with a page that uses the microphone. Refuses to
know what is in the files.
"""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

WEB = Path(__file__).parent / "web"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' blob:; worker-src 'self' blob:; "
        "frame-ancestors 'self'; base-uri 'none'"
    ),
    "Permissions-Policy": "microphone=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def page(request: Request) -> Response:
    """One file of `web/`; `/` is `index.html`. 404 for whatever is not there or not of a known type."""
    name = request.path_params.get("name", "") or "index.html"
    path = (WEB / name).resolve()
    media_type = MEDIA_TYPES.get(path.suffix)
    if media_type is None or not path.is_relative_to(WEB.resolve()) or not path.is_file():
        raise HTTPException(404, f"no page {name!r} here")
    return FileResponse(path, media_type=media_type, headers=HEADERS)


def page_routes() -> list[Route]:
    """Catch-all: to be put behind every other route."""
    return [Route("/", page), Route("/{name:path}", page)]
