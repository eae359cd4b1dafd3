"""Headless Chromium for tests of a page, over its DevTools protocol.

    with opened(path, width=390, theme="dark") as page:
        page.run("document.title")

Chromium is no dependency: tests that need it are skipped where it is not installed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """An open page.

    Attributes:
        faults: Messages of the console above a warning, exceptions, and requests to anything but the file.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse):
        self.faults: list[str] = []
        self._loop = loop
        self._socket = socket
        self._number = 0

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def save_picture(self, path: Path, *, height: int | None = None) -> None:
        """Screenshot of the whole page, or of its first `height` pixels."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        data = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._send(method, parameters), 60))

    async def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self._socket.receive()).data)
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        event, found = message.get("method", ""), message.get("params", {})
        if event == "Runtime.exceptionThrown":
            self.faults.append(f"exception: {found['exceptionDetails']}")
        elif event == "Log.entryAdded":
            self.faults.append(f"{found['entry']['level']}: {found['entry']['text']}")
        elif event == "Runtime.consoleAPICalled":
            self.faults.append(f"console: {found['args']}")
        elif event == "Network.requestWillBeSent" and not found["request"]["url"].startswith(
            ("file:", "data:")
        ):
            self.faults.append(f"request: {found['request']['url']}")
        elif event == "Page.javascriptDialogOpening":
            self.faults.append("a dialog")


@contextlib.contextmanager
def opened(path: Path, *, width: int = 1200, height: int = 900, theme: str = "light") -> Iterator[Page]:
    """Open a file in a new browser and wait until it is loaded."""
    assert CHROMIUM is not None
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, contextlib.ExitStack() as stack:
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
        ]
        command = [CHROMIUM, *flags, f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
        browser = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        stack.callback(browser.wait)
        stack.callback(browser.terminate)
        assert browser.stderr is not None
        line = next(each for each in browser.stderr if each.startswith("DevTools listening"))
        port = line.split("//")[1].split("/")[0]
        session = loop.run_until_complete(_session())
        stack.callback(lambda: loop.run_until_complete(session.close()))
        socket = loop.run_until_complete(_connect(session, port))
        stack.callback(lambda: loop.run_until_complete(socket.close()))
        page = Page(loop, socket)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        features = [{"name": "prefers-color-scheme", "value": theme}]
        page.send("Emulation.setEmulatedMedia", features=features)
        page.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        page.send("Page.navigate", url=path.resolve().as_uri())
        page.run(
            "new Promise((done) => document.readyState === 'complete' ? done() : "
            "addEventListener('load', done))"
        )
        yield page
    loop.close()


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


async def _connect(session: aiohttp.ClientSession, port: str) -> aiohttp.ClientWebSocketResponse:
    async with session.get(f"http://{port}/json/list") as answer:
        target = next(each for each in await answer.json(content_type=None) if each["type"] == "page")
    return await session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
