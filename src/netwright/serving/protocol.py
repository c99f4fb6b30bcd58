"""A connection: bytes to requests, replies to bytes, and deadlines that no trickle of bytes puts off.

uvicorn's own protocols keep a connection open as long as a byte comes now and then, and hand a request to the
application before its body is there. Here a request is handed over when it is whole, so that nothing behind this module
ever waits for a client. uvicorn makes one ``Connection`` for each that it accepts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from netwright.serving.exchange import SAFE_LINES, STATUS_LINES, Exchange
from netwright.serving.http1 import Chunks, Head, bad, parse_head
from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused, refusal_body, too_many

SWEEP_S = 0.1  # how often deadlines are looked at
LINGER_S = 2.0  # what a client still sends after a refusal is read and thrown away, so that it reads the refusal
AHEAD = 64 * 1024  # bytes of further requests that are read while one is answered
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class Hub:
    """What all connections share.

    Attributes:
        limits: The bounds.
        refused: Told of each request that never reached the application: status, code and request id.
        identify: Makes a request's id from what the client sent as one, or from nothing.
        held: Bytes of bodies that are being received or answered.
        draining: Whether the server ends: each reply closes its connection.
    """

    limits: Limits
    refused: Callable[[Refused, str], None]
    identify: Callable[[bytes | None], str]
    held: int = 0
    draining: bool = False
    dated: tuple[object, bytes] = (None, b"")
    open: set[Connection] = field(default_factory=set)

    def make(self, *, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> Connection:
        """A connection, as uvicorn asks for one. Any: uvicorn's own types."""
        del app_state, _loop
        return Connection(self, config.loaded_app, server_state)

    def sweep(self, now: float) -> None:
        """Close what is past its deadline; called every ``SWEEP_S``."""
        for one in list(self.open):
            if one.until < now:
                one.expire()


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        hub: What all share.
        app: The ASGI application.
        state: uvicorn's: its connections, its tasks, and headers of each reply.
    """

    __slots__ = (
        "app", "body", "buffer", "chunks", "client", "exchange", "head", "hub", "state", "step", "task",
        "transport", "until",
    )  # fmt: skip

    def __init__(self, hub: Hub, app: Any, state: Any) -> None:
        self.hub = hub
        self.app = app
        self.state = state
        self.buffer = bytearray()
        self.head: Head | None = None
        self.body = 0  # bytes of the request's body that count as held
        self.chunks: Chunks | None = None
        self.exchange: Exchange | None = None
        self.task: asyncio.Task[None] | None = None
        self.step = "new"  # new, idle, receiving, answering, flushing, closing, lingering
        self.until = 0.0
        self.client = ""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the deadline of the first request."""
        self.transport: Any = transport  # asyncio.Transport
        transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined]  # so that each unread byte is noticed
        self.hub.open.add(self)
        self.state.connections.add(self)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else ""
        self.until = time.monotonic() + self.hub.limits.receive_s - 2 * SWEEP_S
        if len(self.hub.open) > self.hub.limits.connections:
            self.refuse(Refused(503, "too_many_connections", "Too many connections are open.", retry_s=2))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and whom it asked."""
        del exc
        self.hub.open.discard(self)
        self.state.connections.discard(self)
        self._let_go()
        if self.exchange is not None:
            self.exchange.lose()
            if self.task is not None:
                self.task.cancel()  # nobody waits for the answer: it leaves the queue

    def eof_received(self) -> bool:
        """Keep the way back open for a client that has said all it will say."""
        if self.step == "answering":
            self.exchange.keep_alive = False  # type: ignore[union-attr]
            return True
        return False

    def pause_writing(self) -> None:
        """The client does not read: begin the deadline of the reply."""
        if self.step != "lingering":
            self.until = time.monotonic() + self.hub.limits.send_s - 2 * SWEEP_S

    def resume_writing(self) -> None:
        """The client has read all."""
        if self.exchange is not None:
            self.exchange.drained()
        elif self.step == "flushing":
            self._next()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and hand a request over when it is whole."""
        if self.step == "lingering":
            return
        self.buffer += data
        if self.step in ("answering", "flushing"):
            if len(self.buffer) > AHEAD:
                self.transport.pause_reading()
            return
        self._read()

    # What uvicorn and the hub call.

    def shutdown(self) -> None:
        """The server ends: close where nothing was asked, else after the reply."""
        if self.step in ("new", "idle") and not self.buffer:
            self.transport.close()

    def expire(self) -> None:
        """The deadline is past."""
        if self.step == "receiving" or (self.step == "new" and self.buffer):
            seconds = self.hub.limits.receive_s
            self.refuse(Refused(408, "too_slow", f"The request was not there within {seconds:g} s."))
            self.until = time.monotonic() + SWEEP_S  # and no longer: the deadline is absolute
        elif self.step in ("new", "idle"):
            self.transport.close()
        else:
            self.transport.abort()

    def refuse(self, refusal: Refused) -> None:
        """Answer a request that cannot be handed over, and close."""
        headers = self.head.fields if self.head is not None else {}
        request_id = self.hub.identify(headers.get(b"x-request-id"))
        self.hub.refused(refusal, request_id)
        body = refusal_body(refusal, request_id)
        extra = b"" if refusal.retry_s is None else b"retry-after: %d\r\n" % refusal.retry_s
        self.step, self.until = "lingering", time.monotonic() + LINGER_S
        lines = [
            STATUS_LINES[refusal.status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % request_id.encode(),
            SAFE_LINES,
            extra,
            b"connection: close\r\n\r\n",
        ]
        self.transport.write(b"".join(lines) + body)
        self.buffer.clear()
        self.chunks = None
        self._let_go()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    # How a request is read.

    def _read(self) -> None:
        try:
            while self.step in ("new", "idle", "receiving") and self._take():
                pass
        except Refused as refusal:
            self.refuse(refusal)

    def _take(self) -> bool:
        """Take what is there; whether to look again."""
        if self.head is None:
            if self.step == "idle" and self.buffer:
                self.until = time.monotonic() + self.hub.limits.receive_s - 2 * SWEEP_S
            if self.buffer:
                self.step = "receiving"
            return self._take_head()
        if self.chunks is not None:
            before = len(self.chunks.body)
            self.chunks.feed(self.buffer)
            self._hold(len(self.chunks.body) - before)
            if self.chunks.done:
                self._hand_over(bytes(self.chunks.body))
            return False
        length = self.head.length or 0
        have = len(self.buffer)
        if have >= length:
            self._hold(length - self.body)
            body = bytes(memoryview(self.buffer)[:length])
            del self.buffer[:length]
            self._hand_over(body)
        elif have > self.body:
            self._hold(have - self.body)
        return False

    def _take_head(self) -> bool:
        limits = self.hub.limits
        if self.buffer.startswith(b"\r\n"):  # RFC 9112 2.2: one empty line before a request is passed over
            del self.buffer[:2]
        end = self.buffer.find(b"\r\n\r\n", 0, limits.head)
        if end < 0:
            if len(self.buffer) >= limits.head:
                raise Refused(431, "headers_too_large", f"The headers have more than {limits.head:,} bytes.")
            if b"\x00" in self.buffer:
                raise bad("There is a NUL in the headers.")
            return False
        data = bytes(memoryview(self.buffer)[:end])
        del self.buffer[: end + 4]
        self.head = parse_head(data, limits)
        if self.head.length is None:
            self.chunks = Chunks(limits)
        if self.head.expects and self.head.length != 0 and not self.buffer:
            self.transport.write(GO_ON)
        return True

    def _hold(self, count: int) -> None:
        self.body += count
        self.hub.held += count
        if self.hub.held > self.hub.limits.held:
            raise too_many("Too many bytes are being received.")

    def _let_go(self) -> None:
        self.hub.held -= self.body
        self.body = 0

    def _hand_over(self, body: bytes) -> None:
        head = self.head
        if head is None:  # never: a body follows a head
            return
        self.step, self.until = "answering", float("inf")
        self.exchange = exchange = Exchange(self, head, body)
        self.task = asyncio.get_running_loop().create_task(exchange.run())  # kept: a loop keeps no task alive

    def date(self) -> bytes:
        """uvicorn's headers of each reply, the date, which it makes anew each second."""
        headers = self.state.default_headers
        if headers is not self.hub.dated[0]:
            self.hub.dated = headers, b"".join(b"%b: %b\r\n" % pair for pair in headers)
        return self.hub.dated[1]

    def answered(self, *, keep_alive: bool) -> None:
        """The reply is written: go on with the next request, or close."""
        self._let_go()
        self.exchange = self.head = self.chunks = None
        self.state.total_requests += 1
        if self.transport.is_closing():
            return
        if not keep_alive or self.hub.draining:
            self.step = "closing"  # what is still to be sent has its deadline
            self.transport.close()
            return
        if self.transport.get_write_buffer_size():
            self.step = "flushing"  # nothing more is read from who does not read
            self.transport.pause_reading()
            return
        self._next()

    def _next(self) -> None:
        self.step, self.until = "idle", time.monotonic() + self.hub.limits.idle_s
        if not self.transport.is_reading():
            self.transport.resume_reading()
        if self.buffer:
            self._read()
