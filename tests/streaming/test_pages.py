"""The page's files over the app, without a socket: what is served, as what, and what is not."""

import httpx
import pytest
from starlette.applications import Starlette

from steno.streaming.pages import WEB, page_routes
from tests.live import in_loop


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=page_routes())), base_url="http://server")


@in_loop
async def test_the_root_is_the_captions_page_and_may_use_the_microphone() -> None:
    async with client() as http:
        page = await http.get("/")
        assert page.status_code == 200
        assert page.content == (WEB / "index.html").read_bytes()
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "microphone=(self)" in page.headers["permissions-policy"]
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert (await http.get("/index.html")).content == page.content


@in_loop
async def test_every_file_of_the_page_is_served_with_its_type() -> None:
    types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    files = [path for path in sorted(WEB.iterdir()) if path.suffix in types]
    assert len(files) > 1
    async with client() as http:
        for path in files:
            served = await http.get(f"/{path.name}")
            assert served.content == path.read_bytes()
            assert served.headers["content-type"].startswith(types[path.suffix])
            assert served.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/nothing.js", "/__init__.py", "/..%2fserver.py", "/..%2f..%2fREADME.md", "/%00.js", "/web", "/" + "x" * 5000],
)
@in_loop
async def test_nothing_else_is_served(path: str) -> None:
    async with client() as http:
        assert (await http.get(path)).status_code == 404
