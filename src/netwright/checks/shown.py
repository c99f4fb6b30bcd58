"""A report of checks on a terminal: what to mend first ahead, each with its place, evidence and cure.

Reads records only. Words may come from people's code and data: markup is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netwright.records import CheckReport, Finding
from netwright.wording import harmless

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def render_report(report: CheckReport, console: Console) -> None:
    """Print a report."""
    from rich.markup import escape

    for finding in report.findings:
        colour = COLOURS[finding.severity]
        console.print(
            f"[{colour}]{finding.code} {finding.severity}[/{colour}]  [bold]{escape(harmless(finding.title))}[/bold]"
            f"  {escape(harmless(finding.where))}",
            highlight=False,
        )
        for text, style in ((finding.evidence, ""), (finding.cure, "green")):
            for line in text.splitlines():
                console.print(f"    {escape(harmless(line))}", highlight=False, style=style or None)
    console.print(escape(summary(report)), highlight=False, style="bold")
    for sentence in report.not_checked:
        console.print(f"  not checked: {escape(harmless(sentence))}", highlight=False, style="dim")
    if report.skipped:
        console.print(
            f"  skipped as asked: {escape(harmless(', '.join(report.skipped)))}", highlight=False, style="dim"
        )


def summary(report: CheckReport) -> str:
    """One line: how many of each, of what, and how long it took."""
    counts = [
        f"{number} {kind}{'' if number == 1 else 's'}"
        for kind in ("error", "warning", "note")
        if (number := sum(finding.severity == kind for finding in report.findings))
    ]
    found = ", ".join(counts) if counts else "nothing found"
    return f"{report.subject}: {found} ({report.seconds:.1f} s)"


def line(finding: Finding) -> str:
    """One finding as text, for logs."""
    return f"{finding.code} {finding.severity} in {finding.where}: {finding.title}. {finding.evidence} {finding.cure}"
