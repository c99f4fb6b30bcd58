"""What reading the data found already: warnings of ``netwright data``, codes D101 to D108."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netwright.checks.runner import Check
from netwright.checks.subject import Subject
from netwright.records import Finding

JUDGED = frozenset({"D104"})  # D10 has asked whether an imbalance does harm here
LEAST = 1.0  # per cent of a split that must be in another one


def own(subject: Subject) -> Iterator[Finding]:
    """Warnings and errors of the data themselves, where netwright has read them."""
    data = subject.cache.get("data")
    if data is None:
        return
    from netwright.data.describe import findings

    for one in findings(data):
        if one.severity == "note" or one.code in JUDGED:
            continue
        if one.code == "D106" and (data.spec.kind not in ("text", "image") or _percent(one.evidence) < LEAST):
            continue  # equal rows of a table may be natural, which D06 looks at
        yield one


def _percent(evidence: str) -> float:
    found = re.search(r"\(([\d.]+)%\)", evidence)
    return float(found.group(1)) if found else 100.0


CHECKS: tuple[Check, ...] = (Check("what reading the data found", ("D101",), own, 2.0),)
