"""Paths in a report as the person typed them, whichever folder the script went to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from netwright.records import CheckReport, Finding
from netwright.traces import show_path


def seen_from(folder: Path, report: CheckReport, files: Iterable[str]) -> CheckReport:
    """The report with paths relative to a folder, the one that the script began in."""
    with contextlib.suppress(OSError):  # a current folder may have been removed
        if Path.cwd() == folder:
            return report
    shown = {show_path(file): show_path(file, folder) for file in files}

    names = "|".join(re.escape(old) for old in sorted(shown, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])(?:{names})(?=:\d)")

    def said(text: str) -> str:
        return pattern.sub(lambda found: shown[found.group()], text)

    return report.model_copy(
        update={
            "findings": tuple(_seen(one, shown, said) for one in report.findings),
            "not_checked": tuple(said(sentence) for sentence in report.not_checked),
            "skipped": tuple(said(sentence) for sentence in report.skipped),
        }
    )


def _seen(one: Finding, shown: dict[str, str], said: Callable[[str], str]) -> Finding:
    texts = {name: said(getattr(one, name)) for name in ("where", "evidence", "cure")}
    file = None if one.file is None else shown.get(one.file, one.file)
    return one.model_copy(update={**texts, "file": file})
