"""A real server as a process of its own, on loopback, and bytes to it without a library between."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_S = 60.0  # a loaded machine may take long to import all that a server needs
HEALTHY = {"Host": "127.0.0.1"}


class Running:
    """A server that runs.

    Args:
        arguments: Of ``netwright serve``, without the port.
        supervised: Whether it runs under a process that starts it again, as it does by default; later to begin.
        files: How many files it may open; None for as many as this process.
    """

    def __init__(self, *arguments: str | Path, supervised: bool = False, files: int | None = None) -> None:
        options = ["--port", "0"] if supervised else ["--port", "0", "--no-supervise"]
        command = [sys.executable, "-m", "netwright", "serve", *options, *map(str, arguments)]
        if files is not None:
            command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._begun = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._begun.wait(START_S) or not self.events("serving"):
            self.process.kill()
            raise AssertionError(f"no server: {''.join(self.raw)}")
        self.address = str(self.events("serving")[0]["address"])
        self.port = int(self.address.rpartition(":")[2])

    def _read(self) -> None:
        for line in self.process.stderr or ():
            text = line.decode()
            self.raw.append(text)
            with contextlib.suppress(ValueError):
                self.lines.append(json.loads(text))
                if self.lines[-1].get("event") == "serving":
                    self._begun.set()
        self._begun.set()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Lines of the log of one kind."""
        return [line for line in list(self.lines) if line.get("event") == name]

    def wait_for(self, name: str, *, count: int = 1, seconds: float = 30.0) -> dict[str, Any]:
        """The line of the log that tells of something, once it is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.events(name)
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.02)
        raise AssertionError(f"no {name}: {''.join(self.raw[-20:])}")

    @property
    def server(self) -> int:
        """The process that serves: the one that was started, or its child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid

    def rss(self) -> int:
        """Bytes of memory that it holds."""
        return memory_of(self.server)

    def files(self) -> int:
        """Open files."""
        return len(list(Path(f"/proc/{self.server}/fd").iterdir()))

    def term(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.term()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self._reader.join(10)
            if self.process.stderr is not None:
                self.process.stderr.close()

    def connect(self, seconds: float = 20.0) -> socket.socket:
        """A connection, whose waits end with an error."""
        one = socket.create_connection(("127.0.0.1", self.port), timeout=seconds)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return one

    def send(self, data: bytes, *, seconds: float = 20.0) -> bytes:
        """Send bytes over a new connection; what comes until it is closed, or all replies to come have."""
        with self.connect(seconds) as one:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                one.sendall(data)
            return read_all(one)

    def ask(self, data: bytes, *, seconds: float = 20.0) -> tuple[int, dict[str, str], bytes]:
        """One request in bytes; status, headers and body of its reply."""
        with self.connect(seconds) as one:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                one.sendall(data)
            return read_reply(one)


def memory_of(process: int | str, which: str = "VmRSS") -> int:
    """Bytes that a process, or ``self``, holds; VmHWM for the most that it held since its mark was set back."""
    return int(Path(f"/proc/{process}/status").read_text().split(f"{which}:")[1].split()[0]) * 1024


@contextlib.contextmanager
def serving(*arguments: str | Path, supervised: bool = False, files: int | None = None) -> Iterator[Running]:
    """A server for a while; see ``Running``."""
    one = Running(*arguments, supervised=supervised, files=files)
    try:
        yield one
    finally:
        one.stop()


def request(
    path: str, body: bytes = b"", *, method: str | None = None, kind: str = "application/json", close: bool = True,
    **headers: str,
) -> bytes:  # fmt: skip
    """A request in bytes."""
    lines = [f"{method or ('POST' if body else 'GET')} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_all(one: socket.socket) -> bytes:
    """Bytes until the other side closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := one.recv(65536):
            data += piece
    return data


def read_replies(one: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Replies to requests of one connection; ConnectionError where one is missing."""
    data = b""
    found = []
    for _ in range(count):
        while b"\r\n\r\n" not in data:
            data += _more(one, data)
        head, _, data = data.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        length = int(headers.get("content-length", 0))
        while len(data) < length:
            data += _more(one, data)
        found.append((int(first.split()[1]), headers, data[:length]))
        data = data[length:]
    return found


def read_reply(one: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The one reply that is to come."""
    return read_replies(one, 1)[0]


def _more(one: socket.socket, data: bytes) -> bytes:
    piece = one.recv(65536)
    if not piece:
        raise ConnectionError(f"closed after {data[:200]!r}")
    return piece


def error_of(body: bytes) -> dict[str, str]:
    """The error of a refusal, which has three parts and no more."""
    told = json.loads(body)
    assert list(told) == ["error"]
    assert sorted(told["error"]) == ["code", "message", "request_id"]
    return dict(told["error"])


def readable(one: socket.socket, seconds: float) -> bool:
    """Whether bytes, or the end, come within some time."""
    return bool(select.select([one], [], [], seconds)[0])
