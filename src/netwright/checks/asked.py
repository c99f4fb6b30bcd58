"""What a person may ask of checking: codes to pass over, and seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable

from netwright.checks.catalogue import CODES
from netwright.errors import UsageError, unknown_name


def known_codes(codes: Iterable[str], *, where: str) -> frozenset[str]:
    """Codes to pass over, in capitals, several in one text with commas; ``ALL`` stands for each.

    Raises:
        UsageError: One that there is not, with the nearest that there is.
    """
    texts = [codes] if isinstance(codes, str) else codes
    given = [code.strip().upper() for text in texts for code in text.split(",") if code.strip()]
    for code in given:
        if code not in CODES and code != "ALL":
            raise unknown_name("code of a finding", code, CODES, where=where)
    return frozenset(CODES) if "ALL" in given else frozenset(given)


def refuse_seconds(seconds: float, *, where: str) -> None:
    """Refuse a time in which nothing could be done.

    Raises:
        UsageError: It is not above 0, or without end.
    """
    if not 0 < seconds < math.inf:
        raise UsageError(where=where, expected="seconds above 0", got=str(seconds), cure="As seconds=30.")
