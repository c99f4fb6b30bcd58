"""Multipart bodies that are there as a whole: parts with their names, types and bytes. Strict, and without files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused

_BOUNDARY = re.compile(r"boundary=(?:\"([^\"\\\r\n]{1,70})\"|([A-Za-z0-9'()+_,./:=?-]{1,70}))\s*(?:;|$)", re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"\r\n]*)"', re.IGNORECASE)
_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)
HEAD = 2048  # bytes of a part's headers


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its field's name, its type in lower case ("" where it has none), whether it is a file, its bytes."""

    name: str
    type: str
    is_file: bool
    content: bytes


def read_form(content_type: str, body: bytes, limits: Limits) -> list[Part]:
    """Cut a multipart/form-data body.

    Raises:
        Refused: It is no such body, or has more parts than are allowed.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _bad("it names no boundary")
    mark = b"--" + (found[1] or found[2]).encode("ascii", "replace")
    if not body.startswith(mark):
        raise _bad("it does not begin with its boundary")
    # One more than is allowed, so that a hundred thousand cost no more than that.
    pieces = body[len(mark) :].split(b"\r\n" + mark, limits.parts + 1)
    if len(pieces) > limits.parts + 1:
        raise Refused(413, "too_many_parts", f"The form has more than {limits.parts} parts.")
    last = pieces.pop()
    if not last.startswith(b"--"):
        raise _bad("it was cut off")
    return [_part(piece) for piece in pieces]


def _part(piece: bytes) -> Part:
    if not piece.startswith(b"\r\n"):
        raise _bad("a boundary is followed by other letters")
    end = piece.find(b"\r\n\r\n", 0, HEAD)
    if end < 0:
        raise _bad(f"a part has no end of its headers within {HEAD:,} bytes")
    name, kind, is_file = "", "", False
    for line in piece[2:end].split(b"\r\n"):
        header, _, value = line.partition(b":")
        if header.lower() == b"content-disposition":
            found = _NAME.search(value)
            name = found[1].decode("utf-8", "replace") if found else ""
            is_file = _FILE.search(value) is not None
        elif header.lower() == b"content-type":
            kind = value.strip().partition(b";")[0].strip().lower().decode("ascii", "replace")
        elif header.lower() == b"content-transfer-encoding" and value.strip().lower() not in (
            b"binary",
            b"8bit",
            b"7bit",
        ):
            raise _bad("a part has a transfer encoding")
    return Part(name, kind, is_file, piece[end + 4 :])


def _bad(why: str) -> Refused:
    return Refused(400, "bad_form", f"The form cannot be read: {why}.")
