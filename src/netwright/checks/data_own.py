"""What reading the data found already: warnings of ``netwright data``, codes D101 to D108."""

from __future__ import annotations

from collections.abc import Iterator

from netwright.checks.runner import Check
from netwright.checks.subject import Subject
from netwright.records import Finding


def own(subject: Subject) -> Iterator[Finding]:
    """Warnings and errors of the data themselves, where netwright has read them."""
    data = subject.cache.get("data")
    if data is None:
        return
    from netwright.data.describe import findings

    yield from (one for one in findings(data) if one.severity != "note")


CHECKS: tuple[Check, ...] = (Check("what reading the data found", ("D101",), own, 2.0),)
