"""JSON within bounds: depth and values are counted before anything is made of them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BRACKETS = re.compile(rb"[\[\]{}]")
MOST_DIGITS = 19  # of int64


def read_json(body: bytes, limits: Limits) -> Any:  # Any: JSON
    """Read JSON without NaN, infinity, numbers that overflow, or keys that stand twice.

    Raises:
        Refused: It is no such JSON, or deeper or longer than is allowed.
    """
    _count(body, limits)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "bad_json", "The body is not UTF-8.") from None
    try:
        value = _DECODER.decode(text)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise _deep(limits) from None
    except UnicodeEncodeError:
        raise Refused(400, "bad_json", "The JSON holds half of a surrogate pair, which is no character.") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise Refused(400, "bad_json", f"The body is no JSON: {reason}.") from None


def _count(body: bytes, limits: Limits) -> None:
    opened = body.count(b"[") + body.count(b"{")
    if opened <= limits.depth and len(body) <= limits.numbers:
        return
    bare = _STRINGS.sub(b"0", body)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > limits.numbers:
        raise Refused(413, "too_many_values", f"The JSON has more than {limits.numbers:,} values.")
    depth = 0
    for found in _BRACKETS.finditer(bare):
        depth += 1 if found[0] in b"[{" else -1
        if depth > limits.depth:
            raise _deep(limits)


def _deep(limits: Limits) -> Refused:
    return Refused(400, "json_too_deep", f"The JSON has more than {limits.depth} brackets within each other.")


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS + 1 or not -(1 << 63) <= (value := int(text)) < 1 << 63:
        raise ValueError("a whole number has more than 64 bits")
    return value


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


_DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_real, parse_constant=_no_number, object_pairs_hook=_object)
