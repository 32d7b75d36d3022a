"""A headless Chromium, driven through the pipe of its debugging protocol: no driver, no network."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_KEYS = {"ArrowRight": 39, "ArrowDown": 40, "ArrowLeft": 37, "ArrowUp": 38, "End": 35, "Tab": 9}
_SECONDS = 120


class Tab:
    """One page. `said` is what it wrote to the console as error, or threw, and what it failed to load."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._number, self._read = to_browser, from_browser, 0, b""
        self.said: list[str] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            part = os.read(self._from, 1 << 20)
            assert part, "the browser is gone"
            self._read += part
        text, self._read = self._read.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(text)
        event, of = answer.get("method"), answer.get("params", {})
        if event == "Runtime.exceptionThrown":
            self.said.append(json.dumps(of["exceptionDetails"])[:500])
        elif event == "Runtime.consoleAPICalled" and of["type"] in ("error", "assert"):
            self.said.append(json.dumps(of["args"])[:500])
        elif event == "Log.entryAdded" and of["entry"]["level"] == "error":
            self.said.append(of["entry"]["text"])
        elif event == "Network.requestWillBeSent" and not of["request"]["url"].startswith(("file:", "data:")):
            self.said.append(f"asked for {of['request']['url'][:200]}")
        return answer

    def open(self, page: Path, dark: bool = False, width: int = 1200, height: int = 900) -> None:
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, f"not true in {_SECONDS} s: {expression}; {self.said}"
            time.sleep(0.1)

    def press(self, key: str) -> None:
        """A key, as a person does, on what has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_KEYS[key]
            )

    def screenshot(self, picture: Path) -> None:
        """Of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        picture.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A tab of a browser of its own; its profile goes into a folder."""
    assert CHROMIUM is not None
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()

    def as_three_and_four() -> None:
        commands, answers = os.dup(to_read), os.dup(from_write)  # which may be 3 and 4 themselves
        os.dup2(commands, 3)
        os.dup2(answers, 4)

    process = subprocess.Popen(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"),
            *("--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--disable-background-networking"),
            *("--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-extensions"),
        ],
        preexec_fn=as_three_and_four,  # noqa: PLW1509, only file descriptors are moved
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Tab(to_write, from_read)
    finally:
        process.terminate()
        process.wait(30)
        os.close(to_write)
        os.close(from_read)
