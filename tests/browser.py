"""A headless Chromium for tests, driven over the DevTools protocol: no driver program, only the websockets library.

Its microphone is a WAV file, and permission for it is given without a prompt.
"""

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
)


class PageError(AssertionError):
    """A script of the page threw."""


class Page:
    """One tab. `evaluate` runs an expression in it and gives back its JSON value."""

    def __init__(self, socket: ClientConnection, session: str, numbers: "itertools.count[int]") -> None:
        self._socket = socket
        self._session = session
        self._numbers = numbers
        self.faults: list[str] = []
        """Uncaught exceptions and console errors of the page so far."""

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "sessionId": self._session, "method": method, "params": params}
        await self._socket.send(json.dumps(message))
        while True:
            answer: dict[str, Any] = json.loads(await self._socket.recv())
            self._note(answer)
            if answer.get("id") == number:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    async def open(self, url: str) -> None:
        await self.call("Page.enable")
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.call("Page.navigate", url=url)
        await self.wait_for("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """Promises are awaited; a click counts as one of a user."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    async def wait_for(self, expression: str) -> Any:
        """The value of the expression once it is true. The caller bounds the time."""
        while not (value := await self.evaluate(expression)):  # noqa: ASYNC110 - another process: no event to await
            await asyncio.sleep(0.05)
        return value

    async def screenshot(self) -> bytes:
        """What the tab shows, as PNG."""
        answer = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.faults.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.faults.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


@asynccontextmanager
async def browser(*, microphone: Path | None = None, flags: tuple[str, ...] = ()) -> AsyncIterator[Page]:
    """A fresh browser with one empty tab. `microphone`: a 16-bit WAV file, heard once from the moment it is opened."""
    assert BINARY is not None, "there is no Chromium here"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        sound = [f"--use-file-for-fake-audio-capture={microphone}%noloop"] if microphone else []
        process = await asyncio.create_subprocess_exec(
            BINARY, *FLAGS, *flags, *sound, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        drain: asyncio.Task[None] | None = None
        try:
            address = await _debugger_address(process.stderr)
            drain = asyncio.create_task(_discard(process.stderr))
            async with connect(address, max_size=None, compression=None, proxy=None) as socket:
                yield await _first_page(socket)
        finally:
            if drain is not None:
                drain.cancel()
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _debugger_address(output: asyncio.StreamReader) -> str:
    async for line in output:
        _, found, address = line.decode(errors="replace").partition("DevTools listening on ")
        if found:
            return address.strip()
    raise AssertionError("Chromium ended before it listened")


async def _discard(output: asyncio.StreamReader) -> None:
    async for _ in output:
        pass


async def _first_page(socket: ClientConnection) -> Page:
    numbers = itertools.count(1)

    async def call(method: str, **params: Any) -> dict[str, Any]:
        number = next(numbers)
        await socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(await socket.recv())).get("id") != number:
            pass
        result: dict[str, Any] = answer["result"]
        return result

    targets = (await call("Target.getTargets"))["targetInfos"]
    (target,) = (each["targetId"] for each in targets if each["type"] == "page")
    session = (await call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
    return Page(socket, session, numbers)
