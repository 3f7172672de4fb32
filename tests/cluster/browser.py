"""Drives headless Chromium through its DevTools protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1500,1100")


class Page:
    """A browser tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
        raise ConnectionError("Chromium is gone")

    async def evaluate(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return result["result"].get("value")

    async def text(self) -> str:
        return str(await self.evaluate("document.body ? document.body.innerText : ''"))

    async def open(self, address: str, *expected: str, patience: float = 60) -> str:
        """Opens a page, waits for a text on it, and returns all text."""
        await self.call("Page.navigate", url=address)
        return await self.wait_for(*expected, patience=patience)

    async def wait_for(self, *expected: str, patience: float = 60) -> str:
        deadline = time.monotonic() + patience
        while missing := [word for word in expected if word not in (await self.text())]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{missing} not on the page:\n{(await self.text())[:2000]}")
            await asyncio.sleep(0.5)
        return await self.text()

    async def click(self, selector: str) -> None:
        """Clicks the element of a CSS selector, if there is one."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)})?.click()")

    async def press_right(self) -> None:
        """Presses and releases the right arrow key."""
        key = {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39}
        for event in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=event, **key)

    async def shoot(self, file: Path, part: dict[str, float] | None = None) -> None:
        """Takes a screenshot of the page, or of a rectangle at twice the size."""
        clip = {"clip": {**{key: part[key] for key in ("x", "y", "width", "height")}, "scale": 2}} if part else {}
        picture = await self.call("Page.captureScreenshot", format="png", **clip)
        file.write_bytes(base64.b64decode(picture["data"]))


@asynccontextmanager
async def browsing(namespace: str, user: str, password: str) -> AsyncIterator[Page]:
    """Starts a browser inside a network namespace. It sends the credentials with every request."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory() as profile:
        port_file = Path(profile) / "DevToolsActivePort"
        command = ["ip", "netns", "exec", namespace, CHROMIUM, *_FLAGS, "--remote-debugging-port=0"]
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 60
            while not (port_file.exists() and port_file.read_text().strip()):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise TimeoutError("Chromium did not start")
                await asyncio.sleep(0.2)
            port = int(port_file.read_text().split()[0])
            # The protocol runs over a Unix socket, since the test is outside the namespace.
            unix_socket = Path(profile) / "relay.sock"
            script = _RELAY.format(port=port, path=str(unix_socket))
            relay = subprocess.Popen(["ip", "netns", "exec", namespace, "python3", "-c", script])
            try:
                while not unix_socket.exists():
                    await asyncio.sleep(0.1)
                connector = aiohttp.UnixConnector(str(unix_socket))
                async with aiohttp.ClientSession(connector=connector) as session:
                    async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                        tabs = await answer.json(content_type=None)
                    address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                    async with session.ws_connect(address, max_msg_size=0) as socket:
                        page = Page(socket)
                        login = base64.b64encode(f"{user}:{password}".encode()).decode()
                        await page.call("Network.enable")
                        await page.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {login}"})
                        yield page
            finally:
                relay.terminate()
                relay.wait(10)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


_RELAY = """
import asyncio
async def forward(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data); await sink.drain()
    finally:
        sink.close()
async def serve(reader, writer):
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", {port})
    await asyncio.gather(forward(reader, inner_writer), forward(inner_reader, writer))
async def main():
    server = await asyncio.start_unix_server(serve, {path!r})
    await server.serve_forever()
asyncio.run(main())
"""
