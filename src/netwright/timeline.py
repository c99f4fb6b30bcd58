"""Time stamps on a regular grid: how far apart they are, where each stands, and what the calendar says of it.

``P`` positions, ``K`` calendar features. Times are seconds since 1970, float64. No torch here.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from netwright.errors import DataError

MINUTE, HOUR, DAY, WEEK = 60.0, 3_600.0, 86_400.0, 604_800.0
# Steps of months are from 28 to 31 days long each.
SHORTEST_MONTH, LONGEST_MONTH = 28 * DAY, 31 * DAY
# How far a time stamp may lie from the grid, as a share of a step: clocks drift, and shifts of an hour are none.
OFF_GRID = 0.05
# Seasons that are tried, in seconds: a day, a week, a year.
SEASONS = (DAY, WEEK, 365.25 * DAY)
YEAR_MONTHS = 12
Cycle = Literal["day", "week", "year"]


class Grid(BaseModel):
    """Steps of one length: so many seconds, or so many months."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: Literal["second", "month"]
    size: float = Field(gt=0)

    @property
    def text(self) -> str:
        """In words, as ``1 day``."""
        if self.unit == "month":
            return "1 month" if self.size == 1 else f"{self.size:.0f} months"
        for seconds, name in ((WEEK, "week"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1.0, "second")):
            count = self.size / seconds
            if count >= 1 and abs(count - round(count)) < 1e-6:
                return f"{count:.0f} {name}{'s' if round(count) != 1 else ''}"
        return f"{self.size:g} seconds"

    @property
    def seconds(self) -> float:
        """Length of a step, of months on average."""
        return self.size if self.unit == "second" else self.size * 365.25 * DAY / YEAR_MONTHS

    def seasons(self) -> tuple[int, ...]:
        """Steps of a day, a week and a year, where these are whole and longer than one."""
        found = []
        for season in SEASONS:
            steps = season / self.seconds
            if steps > 1.5 and (season > WEEK or abs(steps - round(steps)) < 1e-6):
                found.append(round(steps))
        return tuple(dict.fromkeys(found))


def find_grid(seconds: NDArray[np.float64], *, where: str) -> Grid:
    """The grid that rising time stamps lie on.

    Args:
        seconds: (N,), at least two, all different.
        where: File or series, for errors.

    Raises:
        DataError: They are not regular; the first that is off is named.
    """
    steps = np.diff(seconds)
    usual = float(np.median(steps))
    if SHORTEST_MONTH - HOUR <= usual <= 366 * DAY + HOUR:
        months = months_of(seconds)
        apart = np.diff(months)
        if (apart > 0).all() and len(np.unique(days_of_month(seconds))) <= 4 and np.median(apart) in (1, 3, 6, 12):
            return Grid(unit="month", size=float(np.median(apart)))
    grid = Grid(unit="second", size=usual)
    off = np.abs(steps / usual - np.round(steps / usual)) > OFF_GRID
    if off.any():
        first = int(np.flatnonzero(off)[0])
        raise DataError(
            where=f"{where}, {stamp(seconds[first + 1])}",
            expected=f"time stamps a whole number of steps apart, here of {grid.text}",
            got=f"{steps[first] / usual:.3g} steps after {stamp(seconds[first])}; {int(off.sum())} such",
            cure="Bring the series to a regular grid first, as pandas' resample does.",
        )
    return grid


def positions(grid: Grid, seconds: NDArray[np.float64], start: float) -> NDArray[np.int64]:
    """Place of each time stamp on the grid that begins at ``start``, int64 (N,)."""
    if grid.unit == "month":
        months = months_of(seconds) - months_of(np.asarray([start]))[0]
        return np.asarray(np.round(months / grid.size).astype(np.int64))
    return np.asarray(np.round((seconds - start) / grid.size).astype(np.int64))


def times(grid: Grid, start: float, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Time of each place on the grid, float64, of the shape of ``places``."""
    if grid.unit == "second":
        return np.asarray(start + places * grid.size, dtype=np.float64)
    first = np.asarray([start]).astype("datetime64[s]")
    rest = start - first.astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)[0]
    months = first.astype("datetime64[M]")[0] + (places * int(grid.size)).astype("timedelta64[M]")
    return np.asarray(months.astype("datetime64[s]").astype(np.int64) + rest, dtype=np.float64)


def months_of(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Months since January 1970."""
    return np.asarray(seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64))


def days_of_month(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Day of the month, from 0."""
    days = seconds.astype("datetime64[s]").astype("datetime64[D]")
    return np.asarray((days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64))


def cycles_of(grid: Grid, span: float) -> tuple[Cycle, ...]:
    """Cycles of the calendar that change from step to step, and that come at least twice in ``span`` seconds."""
    cycles: tuple[tuple[Cycle, float], ...] = (("day", DAY), ("week", WEEK), ("year", 365.25 * DAY))
    return tuple(name for name, length in cycles if grid.seconds < 0.9 * length and span >= 2 * length)


def calendar(cycles: Sequence[Cycle], seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Calendar features of times, float32 (..., 2 * cycles): sine and cosine of the place in each cycle."""
    flat = seconds.reshape(-1)
    years = flat.astype("datetime64[s]").astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64)
    shares = {
        "day": flat / DAY % 1.0,
        "week": (flat / DAY + 3) % 7 / 7,  # 1970 began on a Thursday
        "year": (flat - years) / (366 * DAY),
    }
    turns = [turn(2 * math.pi * shares[cycle]) for cycle in cycles for turn in (np.sin, np.cos)]
    made = np.stack(turns, axis=-1) if turns else np.zeros((len(flat), 0))
    return made.reshape(*seconds.shape, -1).astype(np.float32)


def stamp(seconds: float) -> str:
    """A time as ISO 8601, a whole day without its hour."""
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=round(float(seconds), 3))
    return moment.date().isoformat() if moment.time() == datetime.time() else moment.isoformat(sep=" ")
