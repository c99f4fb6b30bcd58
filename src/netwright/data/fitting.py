"""Fit what is done to the columns of a table, on the rows of the training split alone, with a reason for each."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from netwright.data.compact import CompactColumn
from netwright.errors import DataError
from netwright.records import Choice, LoadOptions
from netwright.rows import SECONDS_A_DAY, CategoryColumn, Column, DateColumn, NumberColumn, PresenceColumn, to_normal

# A number whose largest value lies so many deviations from the mean is put to its quantile: a few rows would rule.
LONG_TAIL = 10.0
NUM_KNOTS = 257
# A text column with more values than this share of the rows, and than so many at least, is no category.
MOST_SHARE, MOST_CATEGORIES, FEW_CATEGORIES = 0.2, 1_000, 50
# Above so many rows a value seen once is left unknown, so that the unknown one is trained too.
MANY_ROWS = 1_000
FIT_ROWS = 1_000_000  # rows that statistics are made of, evenly picked


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is done to each column that is used, and what is not used."""

    columns: tuple[Column, ...]
    unused: tuple[str, ...]
    choices: tuple[Choice, ...]


def fit_columns(
    columns: Mapping[str, CompactColumn],
    train: NDArray[np.int64],
    asked: Sequence[str] | None,
    options: LoadOptions,
    *,
    needed: bool = True,
) -> Fitted:
    """Decide for each column what is done to it.

    Args:
        columns: Without the target.
        train: Rows of the training split.
        asked: Columns that were asked for; None for all that can be used.
        needed: Whether there must be one.

    Raises:
        DataError: No column can be used, or too many cells of a number column are something else.
    """
    where = train[np.linspace(0, len(train) - 1, min(len(train), FIT_ROWS)).round().astype(np.int64)]
    made: list[Column] = []
    left_out: dict[str, str] = {}
    odd: list[Choice] = []
    for name, column in columns.items():
        if asked is not None and name not in asked:
            left_out[name] = "it was not asked for"
            continue
        values = column.whole()
        found, reason = _fit_column(column, values, where, whole=asked is None)
        if found is None:
            left_out[name] = reason
            continue
        made.append(found)
        odd += _odd_cells(column, len(values), options)
    if not made and needed:
        raise DataError(
            where="the table",
            expected="a column to answer from",
            got=_first_reasons(left_out) or "the target alone",
            cure="Give more columns, or name them: --input a,b.",
        )
    return Fitted(tuple(made), tuple(left_out), (*_told(made), *odd, *_told_left_out(left_out)))


def _first_reasons(left_out: Mapping[str, str]) -> str:
    """Why columns are left out, those first that were asked for."""
    ordered = sorted(left_out.items(), key=lambda one: one[1] == "it was not asked for")
    return "; ".join(f"{name}: {reason}" for name, reason in ordered[:5])


def _fit_column(
    column: CompactColumn, values: NDArray[Any], where: NDArray[np.int64], *, whole: bool
) -> tuple[Column | None, str]:
    """What is done to a column, or None and why it is left out; where it was asked for by name it is kept if it can."""
    if column.kind == "number":
        return _fit_number(column.name, values, where, whole=whole)
    if column.kind == "date":
        return _fit_date(column.name, values[where])
    missing = column.missing(values)
    texts = list(column.texts)
    counts = np.bincount(values[where], minlength=len(texts)) if not column.too_many else np.zeros(0)
    different = int((counts > 0).sum())
    present = int((~missing[where]).sum())
    if column.too_many or different > max(FEW_CATEGORIES, min(MOST_CATEGORIES, MOST_SHARE * present)):
        if 0 < present < len(where):
            return PresenceColumn(column=column.name), ""
        return None, "nearly each row has a text of its own"
    if different < 2:
        return None, "it never changes"
    least = 2 if len(where) >= MANY_ROWS else 1
    names = [texts[code] for code in np.argsort(-counts, kind="stable") if counts[code] >= least]
    return CategoryColumn(column=column.name, values=tuple(names)), ""


def _fit_number(
    name: str, values: NDArray[np.float64], where: NDArray[np.int64], *, whole: bool
) -> tuple[Column | None, str]:
    known = values[where]
    missing = bool(np.isnan(known).any())
    known = known[~np.isnan(known)]
    if not len(known):
        return None, "it is empty"
    steps = np.diff(values[: 2 * len(where)])
    if whole and len(steps) > 20 and bool((steps == 1).all()):
        return None, "it counts the rows"
    if known.min() == known.max() and not missing:
        return None, "it never changes"
    fill = float(np.median(known))
    mean, std = float(known.mean()), float(known.std())
    if std and np.abs(known - mean).max() > LONG_TAIL * std:
        knots = np.quantile(known, np.linspace(0, 1, NUM_KNOTS))
        normal = to_normal(known, knots)
        return NumberColumn(
            column=name, fill=fill, mean=float(normal.mean()), std=float(normal.std()) or 1.0, missing=missing,
            knots=tuple(knots.tolist()),
        ), ""  # fmt: skip
    return NumberColumn(column=name, fill=fill, mean=mean, std=std or 1.0, missing=missing), ""


def _fit_date(name: str, seconds: NDArray[np.float64]) -> tuple[Column | None, str]:
    known = seconds[~np.isnan(seconds)]
    if not len(known) or known.min() == known.max():
        return None, "it never changes"
    parts: list[Literal["month", "weekday", "hour"]] = ["month", "weekday"]
    if (known % SECONDS_A_DAY).any():
        parts.append("hour")
    origin = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=float(known.min()))
    days = (known - known.min()) / SECONDS_A_DAY
    return DateColumn(
        column=name, origin=origin.isoformat(), mean=float(days.mean()), std=float(days.std()), parts=tuple(parts)
    ), ""


def _odd_cells(column: CompactColumn, count: int, options: LoadOptions) -> list[Choice]:
    """Cells of a number column that are none, told; too many of them are refused."""
    if not column.wrong or column.first_wrong is None:
        return []
    cell, row = column.first_wrong
    if column.wrong > options.max_unreadable * count:
        raise DataError(
            where=f"column {column.name}, row {row + 1}",
            expected="a number, as in the first rows",
            got=f'"{cell}", and {column.wrong:,} of {count:,} cells that are none',
            cure="Mend them, or leave the column out: --input a,b.",
        )
    reason = f'{column.wrong:,} cells are no numbers, first "{cell}" in row {row + 1}'
    return [Choice(name=column.name, value="counted as missing", reason=reason)]


def _told(columns: Sequence[Column]) -> list[Choice]:
    """What was done, a line a kind."""
    plain = [one for one in columns if isinstance(one, NumberColumn) and one.knots is None]
    tailed = [one for one in columns if isinstance(one, NumberColumn) and one.knots is not None]
    holes = [one for one in columns if isinstance(one, NumberColumn) and one.missing]
    sizes = [f"{one.column} ({len(one.values)})" for one in columns if isinstance(one, CategoryColumn)]
    lines = (
        ("numbers", [one.column for one in plain], "to mean 0, deviation 1, fitted on the training split"),
        ("numbers by rank", [one.column for one in tailed],
         f"values lie more than {LONG_TAIL:.0f} deviations from the mean: put to a normal distribution"),
        ("missing numbers", [one.column for one in holes], "filled with the median, and told beside by 0 and 1"),
        ("categories", sizes, "texts with few values; 0 is what training had not"),
        ("dates", [one.column for one in columns if isinstance(one, DateColumn)],
         "as days, and as categories of month, weekday and hour"),
        ("presence", [one.column for one in columns if isinstance(one, PresenceColumn)],
         "mostly different texts: only whether there is one is used"),
    )  # fmt: skip
    return [Choice(name=name, value=", ".join(names), reason=reason) for name, names, reason in lines if names]


def _told_left_out(left_out: Mapping[str, str]) -> list[Choice]:
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return [Choice(name="not used", value=", ".join(names), reason=reason) for reason, names in reasons.items()]
