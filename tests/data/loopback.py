"""A real HTTP server on 127.0.0.1 that misbehaves as it is told. It counts the bytes it gives away."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Behaviour = Literal[
    "well", "truncates", "corrupts", "stalls", "missing", "fails", "ignores ranges", "wrong range", "slow", "redirects",
    "huge",
]  # fmt: skip


@dataclass(slots=True)
class Loopback:
    """What the server gives, how, and what it was asked.

    Attributes:
        content: The file, under any path.
        behaviours: One a request, in order; the last stays.
        requests: The Range header of each request, "" where there was none.
        served: Bytes of bodies written.
        redirect: Where "redirects" leads.
    """

    content: bytes
    behaviours: list[Behaviour]
    requests: list[str] = field(default_factory=list)
    served: int = 0
    port: int = 0
    redirect: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file.bin"

    def next(self, asked: str) -> Behaviour:
        """How to answer now."""
        with self.guard:
            self.requests.append(asked)
            return self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]


@contextmanager
def serving(content: bytes, *behaviours: Behaviour) -> Iterator[Loopback]:
    """Serve ``content`` on a free port until the block ends."""
    state = Loopback(content, list(behaviours or ("well",)))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self, state)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, state: Loopback) -> None:
    """Answer one request as the server was told."""
    handler.close_connection = True
    asked = handler.headers.get("Range", "")
    behaviour = state.next(asked)
    if behaviour in ("missing", "fails"):
        head(handler, 404 if behaviour == "missing" else 503, {"Content-Length": "0"})
        return
    if behaviour == "redirects":
        head(handler, 302, {"Location": state.redirect, "Content-Length": "0"})
        return
    whole, start = state.content, 0
    match = re.fullmatch(r"bytes=(\d+)-", asked)
    if match and behaviour != "ignores ranges":
        start = int(match[1])
        if start >= len(whole):
            head(handler, 416, {"Content-Range": f"bytes */{len(whole)}", "Content-Length": "0"})
            return
    body = whole[start:]
    headers = {"Content-Length": str(1 << 60 if behaviour == "huge" else len(body))}
    if start:
        shown = 0 if behaviour == "wrong range" else start
        headers["Content-Range"] = f"bytes {shown}-{len(whole) - 1}/{len(whole)}"
    head(handler, 206 if start else 200, headers)
    send(handler, state, body, behaviour)


def head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    """Status line and headers."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.end_headers()


def send(handler: BaseHTTPRequestHandler, state: Loopback, body: bytes, behaviour: Behaviour) -> None:
    """The body, or as much of it as the behaviour gives."""
    if behaviour in ("truncates", "stalls"):
        body = body[: len(body) // 2]
    if behaviour == "corrupts":
        body = bytes(byte ^ 1 for byte in body)
    pieces = [body[i : i + 4096] for i in range(0, len(body), 4096)] if behaviour == "slow" else [body]
    for piece in pieces:
        if behaviour == "slow":
            state.released.wait(0.02)
        try:
            handler.wfile.write(piece)
            handler.wfile.flush()
        except OSError:  # the other side hung up
            return
        with state.guard:
            state.served += len(piece)
    if behaviour == "stalls":
        state.released.wait(30)
