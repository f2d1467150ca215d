"""wss and https with a certificate made on the spot: the same conversations, the same close codes."""

import ssl
import subprocess
from pathlib import Path
from shutil import which

import httpx
import pytest

from steno.streaming.config import ServerOptions
from tests.fakes import tone
from tests.live import Live, hear, hear_out, in_loop, live_server, pcm, say

pytestmark = pytest.mark.skipif(which("openssl") is None, reason="the openssl command makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(certificate, key) for localhost."""
    folder: Path = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        capture_output=True,
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


def options(certificate: tuple[str, str]) -> ServerOptions:
    return ServerOptions(resume_ttl_s=0, tls_cert=certificate[0], tls_key=certificate[1])


def address(live: Live, scheme: str, path: str) -> str:
    return f"{scheme}://localhost:{live.port}{path}"


@in_loop
async def test_a_conversation_over_wss(certificate: tuple[str, str]) -> None:
    trust = ssl.create_default_context(cafile=certificate[0])
    async with live_server(server=options(certificate)) as live:
        async with live.connect(uri=address(live, "wss", "/v1/stream"), ssl=trust) as client:
            await say(client, "start", vad=False)
            await client.send(pcm(tone(0.1, 0.3)))
            await say(client, "stop")
            heard = await hear_out(client)
            assert heard.texts == ["w100 w100 w100"]
            assert heard.code == 1000
        async with httpx.AsyncClient(verify=trust) as http:
            assert (await http.get(address(live, "https", "/readyz"))).json() == {"status": "ready"}
        await live.quiet()


@in_loop
async def test_a_message_that_is_too_big_over_wss(certificate: tuple[str, str]) -> None:
    trust = ssl.create_default_context(cafile=certificate[0])
    async with live_server(server=options(certificate)) as live:
        async with live.connect(uri=address(live, "wss", "/v1/stream"), ssl=trust) as client:
            await say(client, "start")
            await hear(client, "ready")
            await client.send(b"\0" * 3_000_000)
            assert (await hear_out(client)).code == 1009
        await live.quiet()
