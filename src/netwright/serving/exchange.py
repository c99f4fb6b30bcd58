"""One request and its reply, as ASGI has them, over a connection."""

from __future__ import annotations

import asyncio
import http
from typing import TYPE_CHECKING, Any

from netwright.serving.http1 import Head
from netwright.serving.refusals import Refused, refusal_body

if TYPE_CHECKING:
    from netwright.serving.protocol import Connection

STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in http.HTTPStatus}
SAFE_LINES = b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"


class Exchange:
    """One request and its reply, as ASGI has them.

    Args:
        connection: Whence it came.
        head: Its line and headers.
        body: Its body, whole.
    """

    __slots__ = ("_body", "_connection", "_gone", "_parts", "_room", "_start", "head", "keep_alive")

    def __init__(self, connection: Connection, head: Head, body: bytes) -> None:
        self.head = head
        self.keep_alive = head.keep_alive
        self._connection = connection
        self._body: bytes | None = body
        self._start: dict[str, Any] | None = None
        self._parts: list[bytes] | None = None  # the head of a reply, until there is something of its body
        self._gone: asyncio.Event | None = None
        self._room: asyncio.Event | None = None

    async def run(self) -> None:
        """Ask the application; whatever goes wrong there, the client gets a reply."""
        head, connection = self.head, self._connection
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "scheme": "http",
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": (connection.client, 0),
            "server": None,
            "state": {},
            "netwright.head": head,
            "netwright.body": self._body,
            "netwright.reply": self.reply,
        }
        try:
            await connection.app(scope, self.receive, self.send)
        except Exception:  # the application answers its own faults; this is the last resort
            connection.transport.abort() if self._start is not None else await self._fail()
        finally:
            if self._connection.exchange is self and not connection.transport.is_closing():
                connection.transport.abort()

    async def _fail(self) -> None:
        self.keep_alive = False
        request_id = self._connection.hub.identify(None)
        body = refusal_body(Refused(500, "internal", "Something went wrong here."), request_id)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def receive(self) -> dict[str, Any]:
        """The whole body; after that, that the client is gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self._connection.exchange is self:
            self._gone = self._gone or asyncio.Event()
            await self._gone.wait()
        return {"type": "http.disconnect"}

    def reply(self, status: int, lines: bytes, body: bytes) -> None:
        """Write a whole reply at once: what ``send`` would be told in two messages, for a fifth of its cost.

        Args:
            status: Of HTTP.
            lines: Its headers, each with its line end; its length among them.
            body: All of it.
        """
        connection = self._connection
        if connection.exchange is not self:
            return
        if connection.transport.is_closing():
            self.lose()
            return
        if connection.hub.draining:
            self.keep_alive = False
        ending = b"\r\n" if self.keep_alive and self.head.version == "1.1" else self._ending()
        date = connection.date()
        head = b"".join((STATUS_LINES[status], date, lines, ending))
        connection.transport.write(head if self.head.method == "HEAD" else head + body)
        connection.answered(keep_alive=self.keep_alive)

    def _ending(self) -> bytes:
        return b"connection: keep-alive\r\n\r\n" if self.keep_alive else b"connection: close\r\n\r\n"

    async def send(self, message: Any) -> None:  # Any: ASGI's messages
        """Write a part of the reply; the head goes with the first part of the body."""
        connection = self._connection
        if connection.exchange is not self:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            return
        body = message.get("body", b"")
        more = message.get("more_body", False)
        head = self._head() if self._start is not None and self._parts is None else b""
        if self.head.method == "HEAD":
            body = b""
        if connection.transport.is_closing():
            self.lose()
            return
        connection.transport.write(head + body if head else body)
        if more:
            if connection.transport.get_write_buffer_size():
                self._room = asyncio.Event()
                await self._room.wait()
            return
        connection.answered(keep_alive=self.keep_alive)

    def _head(self) -> bytes:
        start = self._start or {}
        self._parts = []
        lines = [STATUS_LINES[start["status"]]]
        names = set()
        for name, value in (*self._connection.state.default_headers, *start["headers"]):
            lines.append(b"%b: %b\r\n" % (name, value))
            names.add(name)
        if b"content-length" not in names and start["status"] not in (204, 304):
            self.keep_alive = False  # the end of the body is the end of the connection
        if self._connection.hub.draining:
            self.keep_alive = False
        lines.append(self._ending())
        return b"".join(lines)

    def drained(self) -> None:
        """The client has read what was written."""
        if self._room is not None:
            self._room.set()
        else:
            self._connection.until = float("inf")

    def lose(self) -> None:
        """The client is gone."""
        self._connection.exchange = None
        if self._gone is not None:
            self._gone.set()
        if self._room is not None:
            self._room.set()
