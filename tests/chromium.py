"""Drive a headless Chromium over its debugging pipe: no driver, no port, no package.

PYTHONPATH=tests python tests/chromium.py PAGE.html PICTURE.png WIDTH light|dark|print [HEIGHT]
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
TIMEOUT_S = 60.0  # a cold start on a busy machine with two cores took 9 s


def find_chromium() -> str | None:
    """The browser on this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Browser:
    """One page of a browser; ``events`` holds all that it reported so far."""

    process: subprocess.Popen[bytes]
    read_fd: int
    write_fd: int
    session: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    _buffer: bytes = b""
    _number: int = 0

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and wait for what it returns."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def wait(self, method: str) -> None:
        """Wait for an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._receive())

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            if not select.select([self.read_fd], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.read_fd, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        first, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(first))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what its promise comes to."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def show(
        self, page: Path, *, width: int = 1000, height: int = 900, media: str = "screen", dark: bool = False
    ) -> None:
        """Load a page at a width in CSS pixels, as on a screen or on paper, in light or dark."""
        phone = width < 500
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)
        self.events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        self.wait("Page.loadEventFired")
        self.evaluate("document.fonts.ready.then(() => true)")

    def picture(self, *, whole: bool = False, clip: dict[str, float] | None = None) -> bytes:
        """A PNG of what is shown, of the whole page, or of a rectangle of it."""
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole or clip is not None}
        if clip:
            options["clip"] = {**clip, "scale": 1}
        return base64.b64decode(self.send("Page.captureScreenshot", **options)["data"])

    def pdf(self) -> bytes:
        """The page as it would be printed, on A4, by a reader whose screen is dark."""
        self.send("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        sent = self.send(
            "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False, preferCSSPageSize=True
        )
        return base64.b64decode(sent["data"])


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium with a fresh profile, on an empty page; it is ended and its profile removed afterwards."""
    name = find_chromium()
    if name is None:
        raise FileNotFoundError("no Chromium on this machine")
    pipes = [os.pipe(), os.pipe()]
    # The child's ends are moved away from 3 and 4, where the browser will look for them.
    to_child, from_child = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (pipes[0][0], pipes[1][1]))
    os.close(pipes[0][0])
    os.close(pipes[1][1])

    def place() -> None:
        os.dup2(to_child, 3)
        os.dup2(from_child, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [name, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=place,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        driven = Browser(process, read_fd=pipes[1][0], write_fd=pipes[0][1])
        try:
            target = driven.send("Target.createTarget", url="about:blank")["targetId"]
            driven.session = driven.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                driven.send(f"{domain}.enable")
            yield driven
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(pipes[1][0])
            os.close(pipes[0][1])


def main(page: str, out: str, width: str, mode: str, height: str = "0") -> None:
    """Take one picture of a whole page, or print it to a PDF."""
    with browser() as driven:
        driven.show(Path(page), width=int(width), dark=mode == "dark")
        if mode == "print":
            Path(out).write_bytes(driven.pdf())
            return
        tall = driven.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": int(width), "height": int(height) or tall}
        Path(out).write_bytes(driven.picture(clip=clip))


if __name__ == "__main__":
    main(*sys.argv[1:])
