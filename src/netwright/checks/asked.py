"""What a person may ask of checking: codes to pass over, and seconds."""

from __future__ import annotations

from collections.abc import Iterable

from netwright.checks.catalogue import CODES
from netwright.errors import UsageError, unknown_name

SECONDS = 10.0  # for all checks, beside what making the module ready takes
MOST_SECONDS = 3600


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
    """Refuse a time in which nothing could be done, and one that no timer takes.

    Raises:
        UsageError: It is not above 0, or over an hour.
    """
    if not 0 < seconds <= MOST_SECONDS:
        expected = f"seconds above 0, at most {MOST_SECONDS}"
        raise UsageError(where=where, expected=expected, got=str(seconds), cure="20 is the usual.")
