"""The captions page and its files, as they lie in `web/`.

Knows which file types a browser may fetch and the headers that go with a page that uses the microphone. Refuses to
know what is in the files.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

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
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; "
        "img-src 'self' data:; media-src 'self' blob:; "
        "frame-ancestors 'self'; base-uri 'none'"
    ),
    "Permissions-Policy": "microphone=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes(folder: Path = WEB) -> list[Route]:
    """One route for each file of `folder` that has a known type; `/` is `index.html`."""
    files = {path.name: path for path in folder.iterdir() if path.suffix in MEDIA_TYPES}
    if "index.html" in files:
        files[""] = files["index.html"]
    return [Route(f"/{name}", _served(path)) for name, path in files.items()]


def _served(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=HEADERS)

    return page
