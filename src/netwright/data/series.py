"""Series over time: windows of the past with what came after, split by time alone.

``P`` positions in all, ``N`` windows, ``L`` steps of context, ``H`` ahead, ``D`` columns, ``K`` calendar features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.columns import read_columns
from netwright.data.dataset import Data
from netwright.data.facts import digest
from netwright.data.histories import History, find_columns, read_histories
from netwright.errors import DataError, UsageError
from netwright.preprocess import Preprocess
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, SplitSpec
from netwright.timeline import Grid, calendar, cycles_of, stamp, times
from netwright.windows import SeriesScale, WindowSeries, fill_gaps

if TYPE_CHECKING:
    pass

TEST_SHARE, VAL_SHARE = 0.2, 0.1
# Steps ahead where none are asked for: a week of days, a day of hours, a year of months; else this many.
USUAL_HORIZONS = {"1 day": 7, "1 hour": 24, "1 month": 12, "1 week": 4}
OTHER_HORIZON = 12
# Context in horizons: 8 weeks for a week ahead. Longer windows gained nothing on daily temperatures.
HORIZONS_OF_CONTEXT = 8


@dataclass(frozen=True, slots=True)
class SeriesSource:
    """Windows of some series, cut when they are asked for.

    Attributes:
        past: All series end to end, filled and scaled, float32 (P, D).
        known: Which values were there, bool (P, D).
        values: Targets in their own unit, NaN in gaps, float32 (P, targets).
        moments: Time of each position, float64 (P,).
        around: Calendar features, float32 (P, K).
        origins: First step ahead of each window, int64 (N,); rising within a series.
        groups: Series of each window, int64 (N,).
    """

    operation: WindowSeries
    past: NDArray[np.float32]
    known: NDArray[np.bool_]
    values: NDArray[np.float32]
    moments: NDArray[np.float64]
    around: NDArray[np.float32]
    origins: NDArray[np.int64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.origins)

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """The fields of windows, and what came after: float32 (B, H), or (B, H, targets)."""
        operation, origins, groups = self.operation, self.origins[indices], self.groups[indices]
        before = origins[:, None] + np.arange(-operation.context, 0)
        after = origins[:, None] + np.arange(operation.horizon)
        scales = [operation.scales[group] for group in groups]
        count = operation.targets
        fields = {
            "past": self.past[before],
            "mask": self.known[before].all(axis=2),
            "past_calendar": self.around[before],
            "future_calendar": self.around[after],
            "series": groups,
            "loc": np.asarray([scale.mean[:count] for scale in scales], dtype=np.float32),
            "scale": np.asarray([scale.std[:count] for scale in scales], dtype=np.float32),
            "origin": self.moments[origins],
        }
        targets = self.values[after]
        return {name: torch.from_numpy(value) for name, value in fields.items()}, torch.from_numpy(
            targets[..., 0] if count == 1 else targets
        )

    def name(self, index: int) -> str:
        """The series and the time of the first step ahead."""
        time = stamp(self.moments[self.origins[index]])
        names = self.operation.names
        return time if len(names) == 1 else f"{names[self.groups[index]]} {time}"

    @property
    def targets(self) -> NDArray[Any]:
        """What came after each window, (N, H) or (N, H, targets)."""
        after = self.values[self.origins[:, None] + np.arange(self.operation.horizon)]
        return np.asarray(after[..., 0] if self.operation.targets == 1 else after)

    @property
    def lengths(self) -> None:
        """All windows are of one length."""
        return None


def load_series(path: Path, options: LoadOptions, *, asked: bool) -> Data:
    """Data from a file with a column of times and one or several columns of numbers.

    Args:
        asked: Whether a forecast was asked for, and not told from the file.

    Raises:
        DataError: There is no such column, times are irregular or stand twice, or the series is too short.
        UsageError: A split was asked for that is not by time.
    """
    for name in ("group_by", "split_seed"):
        if getattr(options, name) not in (None, 0):
            raise UsageError(
                where=f"--{name.replace('_', '-')}",
                expected="a split by time: what comes later is never learned from",
                got=f"{getattr(options, name)}",
                cure="Leave it out; --val-fraction and --test-fraction say how much of the end is kept.",
            )
    frame = read_columns(path)
    time, series, columns, targets, choices = find_columns(frame, options, path)
    reason = "asked for" if asked else "a column of evenly spaced times, and numbers beside it"
    choices.insert(0, Choice(name="task", value="forecasting", reason=reason, asked=asked))
    histories, grid = read_histories(frame, time, series, columns, path)
    choices.append(Choice(name="step", value=grid.text, reason=f"between the times of {time}"))
    gaps = sum(int(np.isnan(one.values).any(axis=1).sum()) for one in histories)
    if gaps:
        reason = "absent steps and empty cells: in the past the value before, never scored as a target"
        choices.append(Choice(name="gaps", value=f"{gaps:,} steps", reason=reason))
    horizon = options.horizon or USUAL_HORIZONS.get(grid.text, OTHER_HORIZON)
    why = "asked for" if options.horizon else f"usual for steps of {grid.text}"
    choices.append(Choice(name="horizon", value=horizon, reason=why, asked=options.horizon is not None))
    shortest = min(len(one.values) for one in histories)
    shares = (
        VAL_SHARE if options.val_fraction is None else options.val_fraction,
        TEST_SHARE if options.test_fraction is None else options.test_fraction,
    )
    context = options.context or max(1, min(HORIZONS_OF_CONTEXT * horizon, int((1 - sum(shares)) * shortest / 3)))
    why = "asked for" if options.context else f"{HORIZONS_OF_CONTEXT} horizons, at most a third of what is learned from"
    choices.append(Choice(name="context", value=context, reason=why, asked=options.context is not None))
    ends = [_ends(len(one.values), shares) for one in histories]
    _check_length(histories, ends, context, horizon, shares)
    season, acf = _season(grid, [one.values[: end[0], 0] for one, end in zip(histories, ends, strict=True)])
    why = (
        f"its autocorrelation in training is the highest of a day, a week and a year: {acf:.2f}" if acf else "no season"
    )
    choices.append(Choice(name="season", value=f"{season} steps", reason=why))
    scales = tuple(_scale(one, end[0], len(targets), season) for one, end in zip(histories, ends, strict=True))
    cycles = cycles_of(grid, grid.seconds * min(end[0] for end in ends))
    value, why = (
        ", ".join(cycles) or "none",
        "cycles that come twice in training: their place is told beside the values",
    )
    choices.append(Choice(name="calendar", value=value, reason=why))
    operation = WindowSeries(
        time=time, series=series, columns=tuple(columns), targets=len(targets), grid=grid, cycles=cycles, season=season,
        context=context, horizon=horizon, scales=scales,
    )  # fmt: skip
    choices.append(
        Choice(name="scale", value="mean 0, deviation 1", reason="of each series, fitted on its training part")
    )
    sources = _sources(operation, histories, ends)
    for split, source in sources.items():
        if split != "train":
            first = stamp(source.moments[source.origins[0]])
            value = f"{len(source):,} windows, from {first}"
            choices.append(Choice(name=f"{split} split", value=value, reason="by time: each origin once, stride 1"))
    return Data(
        _spec(path, operation, sources, options, choices), sources["train"], sources.get("val"), sources.get("test")
    )


def _ends(count: int, shares: tuple[float, float]) -> tuple[int, int]:
    """First positions of val and of test."""
    test = count - round(shares[1] * count)
    return test - round(shares[0] * count), test


def _check_length(
    histories: Sequence[History],
    ends: Sequence[tuple[int, int]],
    context: int,
    horizon: int,
    shares: tuple[float, float],
) -> None:
    for history, (val, test) in zip(histories, ends, strict=True):
        parts = {"train": val - context, "val": test - val, "test": len(history.values) - test}
        wanted = {"train": True, "val": shares[0] > 0, "test": shares[1] > 0}
        for split, steps in parts.items():
            if wanted[split] and steps < horizon:
                raise DataError(
                    where=f"series {history.name}",
                    expected=f"at least {horizon} steps in the {split} part"
                    + (f" after a context of {context}" if split == "train" else ""),
                    got=f"{max(0, steps)}, of {len(history.values)} in all",
                    cure="Give a longer series, a smaller --horizon or --context, or larger fractions.",
                )


def _season(grid: Grid, parts: Sequence[NDArray[np.float64]]) -> tuple[int, float]:
    """Steps of the season with the highest autocorrelation in training, of those that come at least twice."""
    found: list[tuple[float, int]] = []
    for steps in grid.seasons():
        values = []
        for part in parts:
            if len(part) >= 2 * steps + 2:
                both = ~np.isnan(part[steps:]) & ~np.isnan(part[:-steps])
                later, sooner = part[steps:][both], part[:-steps][both]
                if later.std() and sooner.std():
                    values.append(float(np.corrcoef(later, sooner)[0, 1]))
        if values:
            found.append((float(np.mean(values)), steps))
    best = max(found, default=(0.0, 1))
    return (best[1], best[0]) if best[0] > 0 else (1, 0.0)


def _scale(history: History, end: int, targets: int, season: int) -> SeriesScale:
    part = history.values[:end]
    known = ~np.isnan(part)
    if not known.any(axis=0).all():
        raise DataError(
            where=f"series {history.name}", expected="values in its training part", got="an empty column",
            cure="Leave the column out, or give a longer series.",
        )  # fmt: skip
    mean, std = np.nanmean(part, axis=0), np.nanstd(part, axis=0)
    std[std < 1e-8 * np.maximum(1, np.abs(mean))] = 1.0
    season = season if len(part) > season else 1
    errors = np.abs(part[season:, :targets] - part[:-season, :targets])
    naive = np.nanmean(errors, axis=0) if len(errors) and not np.isnan(errors).all(axis=0).any() else std[:targets]
    return SeriesScale(
        name=history.name,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        naive_error=tuple(np.where(naive > 0, naive, std[:targets]).tolist()),
    )


def _sources(
    operation: WindowSeries, histories: Sequence[History], ends: Sequence[tuple[int, int]]
) -> dict[str, SeriesSource]:
    """Windows by split: a target lies in one split alone; a context may reach into the one before."""
    past, known, values, moments = [], [], [], []
    origins: dict[str, list[NDArray[np.int64]]] = {"train": [], "val": [], "test": []}
    groups: dict[str, list[NDArray[np.int64]]] = {"train": [], "val": [], "test": []}
    base = 0
    for index, (history, (val, test)) in enumerate(zip(histories, ends, strict=True)):
        scale = operation.scales[index]
        filled = fill_gaps(history.values, np.asarray(scale.mean))
        past.append(((filled - np.asarray(scale.mean)) / np.asarray(scale.std)).astype(np.float32))
        known.append(~np.isnan(history.values))
        values.append(history.values[:, : operation.targets].astype(np.float32))
        moments.append(times(operation.grid, history.start, np.arange(len(filled))))
        for split, first, end in (
            ("train", operation.context, val), ("val", max(val, operation.context), test), ("test", test, len(filled)),
        ):  # fmt: skip
            starts = np.arange(first, end - operation.horizon + 1)
            there = ~np.isnan(history.values[starts[:, None] + np.arange(operation.horizon), 0]).all(axis=1)
            origins[split].append(base + starts[there])
            groups[split].append(np.full(int(there.sum()), index))
        base += len(filled)
    whole = np.concatenate(moments)
    shared = (
        operation, np.concatenate(past), np.concatenate(known), np.concatenate(values), whole,
        calendar(operation.cycles, whole),
    )  # fmt: skip
    made = {}
    for split, parts in origins.items():
        if sum(map(len, parts)):
            made[split] = SeriesSource(*shared, np.concatenate(parts), np.concatenate(groups[split]))
    return made


def _spec(
    path: Path,
    operation: WindowSeries,
    sources: dict[str, SeriesSource],
    options: LoadOptions,
    choices: Sequence[Choice],
) -> DataSpec:
    context, horizon, count = operation.context, operation.horizon, operation.targets
    around = 2 * len(operation.cycles)
    first = sources["train"]
    held: list[tuple[str, NDArray[Any]]] = [(split, source.origins) for split, source in sources.items()]
    held += [("past", first.past), ("values", first.values), ("moments", first.moments)]
    return DataSpec(
        name=path.stem,
        source=str(path),
        kind="series",
        task="forecasting",
        inputs=(
            FieldSpec(name="past", shape=(context, len(operation.columns)), dtype="float32"),
            FieldSpec(name="mask", shape=(context,), dtype="bool"),
            FieldSpec(name="past_calendar", shape=(context, around), dtype="float32"),
            FieldSpec(name="future_calendar", shape=(horizon, around), dtype="float32"),
            FieldSpec(name="series", shape=(), dtype="int64"),
            FieldSpec(name="loc", shape=(count,), dtype="float32"),
            FieldSpec(name="scale", shape=(count,), dtype="float32"),
            FieldSpec(name="origin", shape=(), dtype="float64"),
        ),
        target=FieldSpec(
            name=", ".join(operation.columns[:count]),
            shape=(horizon,) if count == 1 else (horizon, count),
            dtype="float32",
        ),
        classes=None,
        splits={split: SplitSpec(count=len(source)) for split, source in sources.items()},
        preprocess=Preprocess(operations=(operation,)),
        options=options,
        choices=tuple(choices),
        parts={"past": ("loc", "scale", "origin", "series")},
        digest=digest(held),
    )
