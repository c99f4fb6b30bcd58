"""Scores of a regression. ``N`` samples, ``D`` outputs, over which scores are plain means.

The mean absolute error stands first: it is in the target's unit, it is what training shows, and a few outliers do not
decide it, as they would the root mean squared error.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from netwright.evaluation.notes import regression_notes
from netwright.evaluation.predictions import Predictions
from netwright.intervals import Interval, bootstrap_bca, bootstrap_t
from netwright.metrics import Errors
from netwright.results import Evaluation, Score

BOOTSTRAP, BCA = "bootstrap_t", "bootstrap_bca"
HEADLINE = "mae"

Floats = NDArray[np.float64]


def score_regression(predictions: Predictions, *, split: str, seed: int) -> Evaluation:
    """Score values (N,) or (N, D) that were checked before."""
    targets = predictions.targets.reshape(len(predictions), -1).astype(np.float64)
    values = predictions.values.reshape(targets.shape).astype(np.float64)
    sums = Errors.zero(targets.shape[1]).update(values, targets)
    computed = sums.compute()
    error = values - targets
    scores = [
        mean_absolute_error(error, seed=seed),
        _root(error, computed["rmse"], seed),
        *([_explained(error, targets, computed["r2"], seed)] if len(targets) > 1 else []),
        Score(
            name="median_absolute_error", value=float(np.mean(np.median(np.abs(error), axis=0))), higher_is_better=False
        ),
    ]
    return Evaluation(
        task="regression",
        split=split,
        count=len(targets),
        headline=HEADLINE,
        scores=tuple(scores),
        notes=regression_notes(scores, sums, error),
    )


def mean_absolute_error(error: Floats, *, seed: int) -> Score:
    """Score predicted minus true values, (N, D)."""
    absolute = np.abs(error).mean(1, keepdims=True)
    interval = bootstrap_t(absolute, seed=seed)[0] if len(error) > 1 else None  # one sample says nothing of the others
    return _scored("mae", float(absolute.mean()), interval, BOOTSTRAP)


def _scored(name: str, value: float, interval: Interval | None, method: str, *, lower: bool = True) -> Score:
    low, high = interval or (None, None)
    return Score(
        name=name, value=value, low=low, high=high, method=method if interval else None, higher_is_better=not lower
    )


def _root(error: Floats, value: float, seed: int) -> Score:
    squares = error**2
    if len(error) < 2:
        return _scored("rmse", value, None, BOOTSTRAP)
    if error.shape[1] == 1:
        low, high = bootstrap_t(squares, seed=seed)[0]
        return _scored("rmse", value, (math.sqrt(low), math.sqrt(high)), BOOTSTRAP)
    roots = np.sqrt(squares.mean(0))
    influence = ((squares - roots**2) / (2 * np.maximum(roots, 1e-300))).mean(1)
    interval = bootstrap_bca(squares, lambda means: np.sqrt(np.maximum(means, 0)).mean(-1), influence, seed=seed)
    return _scored("rmse", value, interval, BCA)


def _explained(error: Floats, targets: Floats, value: float, seed: int) -> Score:
    """R² with its interval; none where an output's target never changes."""
    centred = targets - targets.mean(0)
    spread, squares = (centred**2).mean(0), error**2
    if not (spread > 0).all():
        return _scored("r2", value, None, BCA, lower=False)
    outputs = error.shape[1]
    scaled = centred / np.sqrt(spread)
    columns = np.hstack([squares / spread, scaled, scaled**2])

    def explained(means: Floats) -> Floats:
        lost, middle, square = (means[..., i * outputs : (i + 1) * outputs] for i in range(3))
        return np.asarray((1 - lost / np.maximum(square - middle**2, 1e-12)).mean(-1))

    influence = (squares.mean(0) / spread * scaled**2 - squares / spread).mean(1)
    return _scored("r2", value, bootstrap_bca(columns, explained, influence, seed=seed), BCA, lower=False)
