"""A headless Chromium over its DevTools pipe: opens a page, runs scripts in it, and keeps what it complains of."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
DEADLINE_S = 60.0
COMPLAINTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")


def chromium() -> str | None:
    """Return the program of a Chromium; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page in a browser of its own. `complaints`: errors of the console; `asked`: addresses that it loaded."""

    def __init__(self, program: str, profile: Path) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self._events: list[str] = []
        self._numbers, self._left, self._session = itertools.count(1), b"", ""
        (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (their_in, their_out)]  # as 3 and 4 are written to next
        script = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        options = ["--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe",
                   f"--user-data-dir={profile}"]  # fmt: skip
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # which root has no use of
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *options], pass_fds=high, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (their_in, their_out, *high):
            os.close(fd)
        self._in, self._out = our_in, our_out

    def __enter__(self) -> Browser:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._out)  # it ends where its pipe does
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def show(self, page: Path, width: int, height: int = 900) -> None:
        """Load a page in a window of that many pixels, and wait until all of it is there."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._events.clear()
        self._call("Page.navigate", url=page.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._take()

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript in the page."""
        told = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            told = self._take()
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def _take(self) -> dict[str, Any]:
        """Return the next message, noted if it is an event."""
        until = time.monotonic() + DEADLINE_S
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self._in, 1 << 16) if ready else b""
            assert part, "the browser has ended, or says nothing"
            self._left += part
        text, self._left = self._left.split(b"\0", 1)
        told: dict[str, Any] = json.loads(text)
        method, parameters = told.get("method", ""), told.get("params", {})
        self._events.append(method)
        if method in COMPLAINTS or (method == "Runtime.consoleAPICalled" and parameters["type"] == "error"):
            self.complaints.append(json.dumps(parameters)[:500])
        if method == "Network.requestWillBeSent":
            self.asked.append(str(parameters["request"]["url"])[:200])
        return told
