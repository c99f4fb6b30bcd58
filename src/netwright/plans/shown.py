"""What plans were found to take, as a table on a terminal. Reads records only; words may come from people's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netwright.plans.comparing import COMPARED, in_units
from netwright.records import Candidate, PlanReport
from netwright.wording import harmless

if TYPE_CHECKING:
    from rich.console import Console

HEADS = ("plan", "an update", "to make", "pays after", "parameters part by")


def render_plans(report: PlanReport, console: Console) -> None:
    """Print the table, what would be taken, and all else that was decided."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for place, head in enumerate(HEADS):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for one in report.candidates:
        if one.seconds is not None:
            table.add_row(*_cells(one))
    console.print(
        escape(harmless(f"{report.subject}: a run of {report.steps:,} updates")), soft_wrap=True, style="bold"
    )
    if table.row_count:
        console.print(table)
    for one in report.candidates:
        if one.seconds is None:
            console.print(escape(harmless(f"{one.name}: {one.reason}")), highlight=False, soft_wrap=True, style="dim")
    said = f"plan: {report.plan.value} – {report.plan.reason}"
    console.print(escape(harmless(said)), highlight=False, soft_wrap=True, style="bold")
    if any(one.apart for one in report.candidates):
        told = (
            f"How far parameters part: after {COMPARED} updates from the same start, as a share of the way they went."
        )
        console.print(told, highlight=False, soft_wrap=True, style="dim")
    console.print()


def _cells(one: Candidate) -> tuple[str, ...]:
    seconds = in_units(one.seconds or 0.0)
    if not one.cost_s:
        return one.name, seconds, "–", "–", "–"
    pays = "never" if one.pays_after is None else f"{one.pays_after:,} updates"
    return one.name, seconds, f"{one.cost_s:.1f} s", pays, f"{one.apart or 0.0:.0e}"
