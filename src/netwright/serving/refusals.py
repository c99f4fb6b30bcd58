"""Why a request gets no answer: a status, a code that stays, and a sentence that tells nothing of the server."""

from __future__ import annotations

import json
import re

from netwright.errors import MissingExtraError, NetwrightError

# What a sentence of a library may give away: a path, an address in memory.
_INSIDE = re.compile(
    r"<[^<>]* object at 0x[0-9a-fA-F]+>|0x[0-9a-fA-F]{6,}|(?<![\w.])(?:[A-Za-z]:)?[/\\](?:[\w.@+~-]+[/\\])+[\w.@+~-]*"
)
MOST_LETTERS = 400


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: Of HTTP, 4xx or 5xx.
        code: A stable word for programs.
        message: A sentence for people.
        retry_s: After how many seconds to come again; None where that would not help.
        allow: The methods that would do, of a path that is there.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_s: int | None = None, allow: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_s = retry_s
        self.allow = allow


def plain(text: str) -> str:
    """A sentence without paths and addresses, on one line, cut where it is long."""
    flat = " ".join(_INSIDE.sub("…", text).split())
    return flat if len(flat) <= MOST_LETTERS else flat[: MOST_LETTERS - 1] + "…"


def unusable(error: NetwrightError) -> Refused:
    """The refusal of an input that cannot be read: 413 where it is too large, 422 otherwise."""
    if isinstance(error, MissingExtraError):
        return Refused(501, "not_supported", "This server lacks the decoder of such inputs.")
    got = error.got
    large = "decompression bomb" in got or error.expected.startswith("at most ")
    where = "The input" if "/" in error.where or "\\" in error.where else error.where[:1].upper() + error.where[1:]
    message = plain(f"{where}: expected {error.expected}, got {got}.")
    return Refused(413, "too_large", message) if large else Refused(422, "unusable_input", message)


def no_answer() -> Refused:
    """The refusal of an input whose answer holds NaN or infinity."""
    return Refused(422, "no_answer", "The model's answer to this input is not a finite number.")


def too_many(what: str, *, retry_s: int = 1) -> Refused:
    """The refusal under load."""
    return Refused(429, "busy", f"{what} Come again in {retry_s} s.", retry_s=retry_s)


def refusal_body(refusal: Refused, request_id: str) -> bytes:
    """The body of an error's reply."""
    error = {"code": refusal.code, "message": refusal.message, "request_id": request_id}
    return json.dumps({"error": error}, ensure_ascii=False).encode()
