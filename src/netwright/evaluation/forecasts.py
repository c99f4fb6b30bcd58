"""Scores of forecasts, with intervals that know that neighbouring origins share most of their errors.

``N`` origins in the order of time, ``H`` steps ahead, ``D`` columns; NaN where the truth is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netwright.errors import DataError, NonFiniteError
from netwright.intervals import batch_means
from netwright.results import Evaluation, HorizonRow, Score

METHOD = "batch_means"
HEADLINE = "mase"
Floats = NDArray[np.float64]


def forecast_scores(
    values: Floats, targets: Floats, naive_errors: Floats, groups: NDArray[np.int64]
) -> tuple[Score, ...]:
    """MASE, sMAPE, RMSE and MAE, means over origins, steps and columns.

    Args:
        values: Forecasts, (N, H, D).
        targets: What came, (N, H, D), NaN where it is not known.
        naive_errors: Mean absolute error of the seasonal naive forecast in training, of each origin's series, (N, D).
        groups: Series of each origin, int64 (N,).

    Source:
        Hyndman & Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001, for MASE; sMAPE as in the M4 competition,
        200 % at most: 2 |y - f| / (|y| + |f|).
    """
    horizon = values.shape[1]
    error = np.abs(values - targets)
    size = np.abs(values) + np.abs(targets)
    shares = np.where(size > 0, 2 * error / np.where(size > 0, size, 1), np.where(np.isnan(error), np.nan, 0.0))
    scaled = error / naive_errors[:, None]
    named = (("mase", scaled), ("smape", shares), ("rmse", error**2), ("mae", error))
    found = []
    for name, each in named:
        means = np.nanmean(each.reshape(len(each), -1), axis=1)
        low_high = batch_means(means, groups, reach=horizon)
        value = float(means.mean())
        if name == "rmse":
            value = math.sqrt(value)
            low_high = low_high and (math.sqrt(max(0.0, low_high[0])), math.sqrt(max(0.0, low_high[1])))
        low, high = low_high or (None, None)
        found.append(
            Score(
                name=name, value=value, low=None if low is None else max(0.0, low), high=high,
                method=METHOD if low_high else None, higher_is_better=False,
            )
        )  # fmt: skip
    return tuple(found)


def score_forecasts(
    values: Floats,
    targets: Floats,
    naive_errors: Floats,
    groups: NDArray[np.int64],
    *,
    split: str,
    half_widths: Floats | None,
) -> Evaluation:
    """Score all forecasts of a split.

    Args:
        values: Forecasts (N, H, D); ``targets``, ``naive_errors`` and ``groups`` as ``forecast_scores`` takes them.
        half_widths: Half of the forecasts' 90 % interval by step and column, (H, D); None where none was made.

    Raises:
        DataError: There is nothing to score.
        NonFiniteError: A forecast is NaN or infinite.
    """
    if not len(values):
        raise DataError(where=split, expected="windows", got="none", cure="Name another split with --split.")
    bad = np.asarray(~np.isfinite(values).reshape(len(values), -1).all(1))
    if bad.any():
        raise NonFiniteError(
            where=f"the model's forecasts on {split}",
            expected="finite numbers",
            got=f"NaN or infinity for {int(bad.sum()):,} of {len(bad):,} origins",
            cure="Look for overflow in the module: a large rate, a logarithm of 0, a division by a deviation of 0.",
        )
    scores = forecast_scores(values, targets, naive_errors, groups)
    rows = _by_step(values, targets, half_widths)
    return Evaluation(
        task="forecasting",
        split=split,
        count=len(values),
        headline=HEADLINE,
        scores=scores,
        horizon=rows,
        notes=_notes(scores, rows, len(values)),
    )


def _by_step(values: Floats, targets: Floats, half_widths: Floats | None) -> tuple[HorizonRow, ...]:
    error = np.abs(values - targets)
    rows = []
    for step in range(values.shape[1]):
        known = ~np.isnan(error[:, step])
        inside = None
        if half_widths is not None:
            inside = float((error[:, step] <= half_widths[step])[known].mean())
        rows.append(
            HorizonRow(
                step=step + 1,
                mae=float(np.nanmean(error[:, step])),
                half_width=None if half_widths is None else tuple(half_widths[step].tolist()),
                coverage=inside,
            )
        )
    return tuple(rows)


def _notes(scores: Sequence[Score], rows: Sequence[HorizonRow], count: int) -> tuple[str, ...]:
    notes = []
    if scores[0].low is None:
        notes.append(f"Only {count:,} overlapping windows: too few for an interval.")
    inside = [row.coverage for row in rows if row.coverage is not None]
    if inside and not 0.85 <= float(np.mean(inside)) <= 0.95:
        notes.append(
            f"The forecasts' 90 % intervals hold {100 * float(np.mean(inside)):.0f}% of what came: what comes is "
            f"{'wilder' if np.mean(inside) < 0.9 else 'calmer'} than the validation part they were made from."
        )
    if scores[0].value > 1:
        notes.append(
            f"MASE is {scores[0].value:.3g}: the errors are larger than those of repeating the last season were in "
            "training."
        )
    return tuple(notes)
