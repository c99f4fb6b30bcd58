"""HTTP/1.1 as this server reads it: strictly. What two readers could take in two ways is refused.

Pure functions on bytes; knows nothing of sockets. RFC 9112 where it leaves a choice: no obsolete line folding, no bare
line feeds, no transfer coding but ``chunked`` alone, never a length beside it, no chunk extensions, no trailers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused

_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"[A-Za-z0-9.\-_]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_ONCE = (b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization")


@dataclass(slots=True)
class Head:
    """A request's line and headers.

    Attributes:
        raw_path: As it was sent, without its query.
        path: Decoded once.
        length: Bytes of the body; None where it comes in chunks.
        expects: Whether the client waits for a "go on" before it sends the body.
    """

    method: str
    raw_path: bytes
    path: str
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    fields: dict[bytes, bytes] = field(repr=False)
    length: int | None
    keep_alive: bool
    expects: bool


def bad(message: str) -> Refused:
    """A request that is no HTTP/1.1, or could be read in two ways."""
    return Refused(400, "bad_request", message)


def parse_head(data: bytes, limits: Limits) -> Head:
    """Read a request's line and headers.

    Args:
        data: All before the empty line, without it.
        limits: How much is allowed.

    Raises:
        Refused: It is no request, or more than is allowed.
    """
    line, *rest = data.split(b"\r\n")
    asked = _LINE.fullmatch(line)
    if asked is None:
        raise bad("The request line is not METHOD /path HTTP/1.1.")
    method, target, minor = asked.groups()
    if len(target) > limits.target:
        raise Refused(414, "target_too_long", f"The path has more than {limits.target:,} bytes.")
    if len(rest) > limits.headers:
        raise Refused(431, "too_many_headers", f"There are more than {limits.headers} headers.")
    headers: list[tuple[bytes, bytes]] = []
    fields: dict[bytes, bytes] = {}
    for one in rest:
        found = _HEADER.fullmatch(one)
        if found is None:
            raise bad("A header is not Name: value.")
        name, value = found[1].lower(), found[2].strip(b" \t")
        if name in fields:
            if name in _ONCE:
                raise bad(f"The header {name.decode()} stands there twice.")
            value_of_all = fields[name] + b", " + value
        else:
            value_of_all = value
        fields[name] = value_of_all
        headers.append((name, value))
    _check_fields(fields, minor)
    raw_path, _, query = target.partition(b"?")
    return Head(
        method=method.decode(),
        raw_path=raw_path,
        path=_path(raw_path),
        query=query,
        version="1.1" if minor == b"1" else "1.0",
        headers=headers,
        fields=fields,
        length=_body_length(fields, minor, limits),
        keep_alive=_keeps_alive(fields, minor),
        expects=fields.get(b"expect", b"").lower() == b"100-continue",
    )


def _path(raw: bytes) -> str:
    if b"%" not in raw:
        return raw.decode("ascii")
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise bad("The path is not UTF-8.") from None


def _keeps_alive(fields: dict[bytes, bytes], minor: bytes) -> bool:
    options = fields.get(b"connection", b"").lower()
    if minor == b"0":
        return b"keep-alive" in options and b"close" not in options
    return b"close" not in options


def _check_fields(fields: dict[bytes, bytes], minor: bytes) -> None:
    host = fields.get(b"host")
    if host is None and minor == b"1":
        raise bad("There is no Host.")
    if host is not None and _HOST.fullmatch(host) is None:
        raise bad("The Host is no name and no address.")
    if fields.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise Refused(417, "expectation_failed", "Only 100-continue can be expected.")
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(415, "unsupported_encoding", "Bodies are taken as they are, without compression.")


def _body_length(fields: dict[bytes, bytes], minor: bytes, limits: Limits) -> int | None:
    """Bytes of the body; None for chunks."""
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise bad("A length and a transfer coding stand beside each other.")
        if minor == b"0" or coding.lower() != b"chunked":
            raise bad("The only transfer coding is chunked, of HTTP/1.1.")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise bad("The Content-Length is no number.")
    if int(length) > limits.body:
        raise too_large(limits)
    return int(length)


def too_large(limits: Limits) -> Refused:
    """The refusal of a body beyond the limit."""
    return Refused(413, "body_too_large", f"The body has more than {limits.body:,} bytes.")


class Chunks:
    """A body that comes in chunks; bytes are fed, and what follows the body is left.

    Args:
        limits: How much is allowed.
    """

    def __init__(self, limits: Limits) -> None:
        self.body = bytearray()
        self.done = False
        self._limits = limits
        self._count = 0
        self._left = 0  # of the chunk that is being read, with its line end
        self._state = "size"

    def feed(self, data: bytearray) -> None:
        """Take from the begin of ``data`` what belongs to the body.

        Raises:
            Refused: It is no chunked body, or more than is allowed.
        """
        at = 0
        while not self.done:
            if self._state == "data":
                take = min(self._left, len(data) - at)
                self.body += memoryview(data)[at : at + take]
                at += take
                self._left -= take
                if self._left:
                    break
                self._state = "end"
            end = data.find(b"\r\n", at, at + 20)
            if end < 0:
                if len(data) - at >= 20:
                    raise bad("A chunk's size is no short hexadecimal number.")
                break
            line = bytes(data[at:end])
            at = end + 2
            self._line(line)
        del data[:at]

    def _line(self, line: bytes) -> None:
        if self._state == "end":  # of a chunk's data
            if line:
                raise bad("A chunk is longer than its size.")
            self._state = "size"
            return
        if self._state == "last":
            if line:
                raise bad("Trailers are not taken.")
            self.done = True
            return
        if _SIZE.fullmatch(line) is None:
            raise bad("A chunk's size is no short hexadecimal number.")
        self._left = int(line, 16)
        self._count += 1
        if self._count > self._limits.chunks:
            raise Refused(413, "too_many_chunks", f"The body has more than {self._limits.chunks:,} chunks.")
        if len(self.body) + self._left > self._limits.body:
            raise too_large(self._limits)
        self._state = "data" if self._left else "last"
