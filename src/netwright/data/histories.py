"""Files with a column of times: which columns are what, and each series laid out on its grid. ``P`` positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from netwright.data.compact import CompactColumn, kind_of
from netwright.errors import DataError, unknown_name
from netwright.records import Choice, LoadOptions
from netwright.timeline import Grid, find_grid
from netwright.windows import lay_out

if TYPE_CHECKING:
    import pandas as pd

# A file is taken for a series by itself where so many of its steps are alike.
REGULAR = 0.95


@dataclass(frozen=True, slots=True)
class History:
    """One series on its grid.

    Attributes:
        values: float64 (P, D), NaN in gaps; the targets first.
        start: Time of the first.
    """

    name: str
    values: NDArray[np.float64]
    start: float


def looks_like_series(frame: pd.DataFrame) -> bool:
    """Whether the first rows of a file are one regular series: a column of times, and numbers beside it alone."""
    kinds = {name: kind_of(frame[name]) for name in frame.columns}
    dates = [name for name, kind in kinds.items() if kind == "date"]
    if len(dates) != 1 or len(frame) < 10 or any(kind == "text" for kind in kinds.values()) or len(kinds) < 2:
        return False
    column = CompactColumn(dates[0], "date")
    column.add(frame[dates[0]], 0)
    steps = np.diff(column.take())
    return bool((steps > 0).all()) and float(np.mean(np.abs(steps / np.median(steps) - 1) < 0.2)) >= REGULAR


def find_columns(
    frame: pd.DataFrame, options: LoadOptions, path: Path
) -> tuple[str, str | None, list[str], list[str], list[Choice]]:
    """Columns of the time and of the series' name, of all numbers with the targets first, and the targets."""
    kinds = {str(name): kind_of(frame[name]) for name in frame.columns}
    dates = [name for name, kind in kinds.items() if kind == "date"]
    if not dates:
        raise DataError(
            where=str(path),
            expected="a column of times, as 2026-11-23 or 2026-11-23 14:30",
            got=f"columns {', '.join(kinds)}",
            cure="Write times with the year first.",
        )
    time = dates[0]
    names: dict[str, list[str]] = {}
    for option in ("target", "input"):
        asked = getattr(options, option)
        names[option] = [name.strip() for name in asked.split(",")] if asked else []
        for name in names[option]:
            if name not in kinds:
                raise unknown_name(f"column of {path.name}", name, list(kinds), where=f"--{option}")
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    targets = names["target"] or (numbers if not names["input"] else [n for n in numbers if n not in names["input"]])
    wrong = [name for name in (*targets, *names["input"]) if name not in numbers]
    if wrong or not targets:
        raise DataError(
            where=str(path), expected="columns of numbers to forecast", got=", ".join(wrong) or "none",
            cure="Name them: --target COLUMN.",
        )  # fmt: skip
    columns = [*targets, *(name for name in (names["input"] or numbers) if name not in targets)]
    texts = [name for name, kind in kinds.items() if kind == "text"]
    series = texts[0] if texts and frame[time].duplicated().any() else None
    value = ", ".join(targets)
    why = "asked for" if options.target else "all columns of numbers"
    choices = [Choice(name="target", value=value, reason=why, asked=options.target is not None)]
    if series is not None:
        choices.append(Choice(name="series", value=series, reason="times stand several times, once for each of these"))
    left = [name for name in kinds if name not in (time, series, *columns)]
    if left:
        choices.append(Choice(name="not used", value=", ".join(left), reason="neither the time nor numbers asked for"))
    return time, series, columns, targets, choices


def read_histories(
    frame: pd.DataFrame, time: str, series: str | None, columns: Sequence[str], path: Path
) -> tuple[list[History], Grid]:
    """Each series on its grid, and that grid.

    Raises:
        DataError: A cell is no number, a time is missing, stands twice or is off the grid.
    """
    parts = [("", frame)] if series is None else [(str(name), part) for name, part in frame.groupby(series, sort=True)]
    raw = []
    for name, part in parts:
        held = {}
        for column in (time, *columns):
            compact = CompactColumn(column, "date" if column == time else "number")
            compact.add(part[column], 0)
            _refuse_odd(compact, path)
            held[column] = compact.take()
        missing = np.isnan(held[time])
        if missing.any():
            raise DataError(
                where=f"{path}, row {int(np.flatnonzero(missing)[0]) + 1}", expected=f"a time in the column {time}",
                got=f"nothing, in {int(missing.sum())} rows", cure="Fill in or remove these rows.",
            )  # fmt: skip
        values = np.stack([held[column] for column in columns], axis=1)
        raw.append((name, held[time], values))
    longest = max(raw, key=lambda one: len(one[1]))
    if len(longest[1]) < 3:
        raise DataError(where=str(path), expected="a series", got=f"{len(longest[1])} rows", cure="Give more of it.")
    stamps = np.unique(longest[1])
    grid = find_grid(stamps, where=f"{path.name} {longest[0]}".strip())
    histories = []
    for name, seconds, values in raw:
        where = f"{path.name} {name}".strip()
        laid, start = lay_out(grid, seconds, values, where=where)
        histories.append(History(name or path.stem, laid, start))
    return histories, grid


def _refuse_odd(column: CompactColumn, path: Path) -> None:
    if column.first_wrong is not None:
        cell, row = column.first_wrong
        raise DataError(
            where=f"{path}, column {column.name}, row {row + 1}", expected="a number", got=f'"{cell}"',
            cure="Mend it; leave it empty if it is unknown.",
        )  # fmt: skip
