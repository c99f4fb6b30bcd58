"""Series as windows: what is done to a history before it is answered, as data, run alike in training and in serving.

``P`` positions of a series, ``L`` steps of context, ``H`` steps ahead, ``D`` columns. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from netwright.errors import DataError
from netwright.rows import as_numbers, as_seconds, as_text
from netwright.timeline import Cycle, Grid, calendar, positions, stamp, times


class SeriesScale(BaseModel):
    """One series: mean and deviation of each column in training, and the error of its seasonal naive forecast there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    naive_error: tuple[float, ...] = Field(description="Mean absolute, of the target columns: what MASE divides by.")


class WindowSeries(BaseModel):
    """Cut a history to its last ``context`` steps, fill gaps with the value before, put it to mean 0, deviation 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["window_series"] = "window_series"
    time: str = Field(description="Column of the time stamps.")
    series: str | None = Field(default=None, description="Column that names the series, where there are several.")
    columns: tuple[str, ...] = Field(description="All that is known of the past; the targets first.")
    targets: int = Field(gt=0, description="How many of the columns are forecast.")
    grid: Grid
    cycles: tuple[Cycle, ...] = Field(description="Cycles of the calendar that are told beside the values.")
    season: int = Field(gt=0, description="Steps of the season that the seasonal naive forecast repeats.")
    context: int = Field(gt=0)
    horizon: int = Field(gt=0)
    scales: tuple[SeriesScale, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the series."""
        return tuple(scale.name for scale in self.scales)


def lay_out(
    grid: Grid, seconds: NDArray[np.float64], values: NDArray[np.float64], *, where: str
) -> tuple[NDArray[np.float64], float]:
    """Values on the regular grid, float64 (P, D), NaN in gaps; and the time of the first.

    Raises:
        DataError: A time stamp stands twice.
    """
    order = np.argsort(seconds, kind="stable")
    seconds, values = seconds[order], values[order]
    places = positions(grid, seconds, float(seconds[0]))
    twice = np.flatnonzero(np.diff(places) == 0)
    if len(twice):
        raise DataError(
            where=f"{where}, {stamp(seconds[twice[0]])}",
            expected="each time stamp once",
            got=f"it stands twice; {len(twice)} such",
            cure="Keep one row of each, or name the column that tells series apart.",
        )
    laid = np.full((int(places[-1]) + 1, values.shape[1]), np.nan)
    laid[places] = values
    return laid, float(seconds[0])


def fill_gaps(values: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each gap with the value before it, float64 (P, D); nothing that comes later is looked at.

    Args:
        start: What stands before the first value, (D,).
    """
    known = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], -1), axis=0)
    return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=0), start)


def standardise(operation: WindowSeries, index: int, filled: NDArray[np.float64]) -> NDArray[np.float32]:
    """Columns of a series to mean 0 and deviation 1, float32 (P, D)."""
    scale = operation.scales[index]
    scaled: NDArray[np.float64] = (filled - np.asarray(scale.mean)) / np.asarray(scale.std)
    return scaled.astype(np.float32)


def one_history(operation: WindowSeries, table: Any) -> dict[str, NDArray[Any]]:
    """The last steps of one history as the fields of a window, without a batch dimension.

    Args:
        table: A mapping of column names to equally long sequences: the time, the columns, and the name of the series
            where there are several.

    Raises:
        DataError: A column is missing, the history is too short, or its time stamps are not on the grid.
    """
    if not isinstance(table, Mapping):
        raise DataError(
            where="input", expected="a history: a mapping of columns to sequences", got=type(table).__name__,
            cure=f"Give it as {{{operation.time!r}: times, {operation.columns[0]!r}: values}}.",
        )  # fmt: skip
    needed = [operation.time, *operation.columns, *([operation.series] if operation.series else [])]
    absent = [name for name in needed if name not in table]
    if absent:
        raise DataError(
            where="input",
            expected=f"the columns {', '.join(needed)}",
            got=f"none called {', '.join(absent)}",
            cure="Name the columns as in training.",
        )
    index = _series_of(operation, table)
    where = f"series {operation.names[index]}" if operation.series else "the history"
    seconds = as_seconds(table[operation.time], operation.time)
    values = np.stack([as_numbers(table[name], name) for name in operation.columns], axis=1)
    laid, start = lay_out(operation.grid, seconds, values, where=where)
    if len(laid) < operation.context:
        raise DataError(
            where=where,
            expected=f"at least {operation.context} steps of {operation.grid.text}",
            got=f"{len(laid)}",
            cure="Give a longer history: the network answers from so many steps.",
        )
    known = ~np.isnan(laid[-operation.context :])
    filled = fill_gaps(laid, np.asarray(operation.scales[index].mean))[-operation.context :]
    places = np.arange(len(laid) - operation.context, len(laid) + operation.horizon)
    moments = times(operation.grid, start, places)
    return window_fields(operation, index, standardise(operation, index, filled), known, moments)


def window_fields(
    operation: WindowSeries,
    index: int,
    past: NDArray[np.float32],
    known: NDArray[np.bool_],
    moments: NDArray[np.float64],
) -> dict[str, NDArray[Any]]:
    """The fields of one window.

    Args:
        past: Scaled, float32 (L, D).
        known: Which values were there, (L, D).
        moments: Times of the past and of what is to come, (L + H,).
    """
    scale, count = operation.scales[index], operation.targets
    around = calendar(operation.cycles, moments)
    return {
        "past": past,
        "mask": np.asarray(known.all(axis=1)),
        "past_calendar": around[: operation.context],
        "future_calendar": around[operation.context :],
        "series": np.asarray(index, dtype=np.int64),
        "loc": np.asarray(scale.mean[:count], dtype=np.float32),
        "scale": np.asarray(scale.std[:count], dtype=np.float32),
        "origin": np.asarray(moments[operation.context], dtype=np.float64),
    }


def _series_of(operation: WindowSeries, table: Mapping[str, Sequence[Any]]) -> int:
    if operation.series is None:
        return 0
    names = {as_text(cell) for cell in table[operation.series]}
    known = [index for index, name in enumerate(operation.names) if names == {name}]
    if not known:
        raise DataError(
            where=f"column {operation.series}",
            expected=f"one series that training had, as {', '.join(operation.names[:3])}",
            got=", ".join(sorted(names)[:3]) or "none",
            cure="Give one history a series; a new series needs a network that was trained on it.",
        )
    return known[0]
