"""A request as the handlers see it, and what they reply. Knows nothing of ASGI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from netwright.serving.refusals import Refused, no_answer, refusal_body

JSON = (b"content-type", b"application/json")
MOST_FIELDS = 16  # of a query
# Made once: json.dumps makes one for each call that has options.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(slots=True)
class Asked:
    """One request, whole.

    Attributes:
        query: As it was sent.
        fields: Headers by name in lower case.
        params: What stands in the path's places, by name.
        notes: For the log: what was found out on the way.
    """

    method: str
    path: str
    query: bytes
    fields: dict[bytes, bytes]
    body: bytes
    id: str
    params: dict[str, str]
    notes: dict[str, Any]

    @property
    def content_type(self) -> str:
        """Of the body; "" where none is named."""
        return self.fields.get(b"content-type", b"").decode("latin-1")

    def option(self, name: str) -> str | None:
        """A field of the query; None where it is not there.

        Raises:
            Refused: The query cannot be read.
        """
        if not self.query:
            return None
        try:
            pairs = parse_qsl(
                self.query.decode("ascii"), max_num_fields=MOST_FIELDS, keep_blank_values=True, errors="strict"
            )
        except ValueError:
            raise Refused(400, "bad_query", "The query cannot be read.") from None
        return next((value for key, value in pairs if key == name), None)

    def flag(self, name: str) -> bool:
        """Whether a field of the query is set.

        Raises:
            Refused: It is neither 0 nor 1.
        """
        value = self.option(name)
        if value not in (None, "0", "1"):
            raise Refused(422, "bad_query", f"`{name}` must be 0 or 1.")
        return value == "1"


@dataclass(slots=True)
class Reply:
    """What is sent back; its length and the request's id are put in front of the headers."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def reply_json(value: Any, status: int = 200) -> Reply:
    """A reply in JSON.

    Raises:
        Refused: It holds NaN or infinity.
    """
    try:
        text = _ENCODER.encode(value)
    except ValueError:
        raise no_answer() from None
    return Reply(status, [JSON], text.encode())


def reply_refusal(refusal: Refused, request_id: str) -> Reply:
    """The reply to a request that is refused."""
    headers = [JSON]
    if refusal.retry_s is not None:
        headers.append((b"retry-after", str(refusal.retry_s).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.allow is not None:
        headers.append((b"allow", refusal.allow.encode()))
    return Reply(refusal.status, headers, refusal_body(refusal, request_id))
