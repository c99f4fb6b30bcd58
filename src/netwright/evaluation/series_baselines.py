"""What a series says of its own future: the last value, the same place a season ago, a linear autoregression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from netwright.evaluation.forecasts import forecast_scores
from netwright.results import Baseline
from netwright.windows import fill_gaps

if TYPE_CHECKING:
    from netwright.data.series import SeriesSource

# Windows that the autoregression is fitted on; more gain nothing.
MAX_WINDOWS = 20_000
Floats = NDArray[np.float64]


def series_baselines(train: SeriesSource, scored: SeriesSource) -> tuple[Baseline, ...]:
    """Score simple forecasts from the same origins.

    Returns:
        Naive, seasonal naive, and a ridge regression from all that the network is given – the window, its gaps filled,
        and the calendar – to all steps ahead at once.
    """
    operation = scored.operation
    targets = scored.values[scored.origins[:, None] + np.arange(operation.horizon)].astype(np.float64)
    naive = np.asarray([operation.scales[group].naive_error for group in scored.groups])
    on = f"scored on all {len(scored):,} origins"
    found = []
    for name, detail, values in (
        ("naive", "the last value, for all steps", _last(scored)),
        ("seasonal_naive", f"the value {operation.season} steps before", _seasonal(scored)),
        ("linear_autoregression", _fitted_on(train), _autoregression(train, scored)),
    ):
        scores = forecast_scores(values, targets, naive, scored.groups)
        found.append(Baseline(name=name, detail=f"{detail}; {on}", score=scores[0], others=scores[1:]))
    return tuple(found)


def _fitted_on(train: SeriesSource) -> str:
    count = min(MAX_WINDOWS, len(train))
    return f"ridge regression from the same {train.operation.context} steps and the calendar, {count:,} windows"


def _filled(source: SeriesSource) -> Floats:
    """Targets with gaps filled by the value before, (P, D); series end to end."""
    values = source.values.astype(np.float64)
    return fill_gaps(values, np.nanmean(values, axis=0))


def _last(source: SeriesSource) -> Floats:
    last = _filled(source)[source.origins - 1]
    return np.repeat(last[:, None], source.operation.horizon, axis=1)


def _seasonal(source: SeriesSource) -> Floats:
    season, steps = source.operation.season, np.arange(source.operation.horizon)
    back = season * (steps // season + 1)  # the last season that is over at the origin
    places = source.origins[:, None] + steps - back
    values: Floats = _filled(source)[np.maximum(places, 0)]
    return values


def _autoregression(train: SeriesSource, scored: SeriesSource) -> Floats:
    from sklearn.linear_model import RidgeCV

    picked = np.linspace(0, len(train) - 1, min(MAX_WINDOWS, len(train))).round().astype(np.int64)
    model = RidgeCV(alphas=np.geomspace(1e-1, 1e4, 11))
    inputs, targets = _linear_inputs(train, picked), _scaled_targets(train, picked)
    known = ~np.isnan(targets).any(axis=1)
    model.fit(inputs[known], targets[known])
    answers = np.asarray(model.predict(_linear_inputs(scored, np.arange(len(scored)))))
    operation = scored.operation
    shape = (len(scored), operation.horizon, operation.targets)
    mean, std = _scales(scored)
    return answers.reshape(shape) * std + mean


def _linear_inputs(source: SeriesSource, where: NDArray[np.int64]) -> Floats:
    fields, _ = source.gather(where)
    parts = [fields["past"].flatten(1), fields["future_calendar"][:, 0]]
    return np.concatenate([part.numpy() for part in parts], axis=1).astype(np.float64)


def _scaled_targets(source: SeriesSource, where: NDArray[np.int64]) -> Floats:
    after = source.values[source.origins[where, None] + np.arange(source.operation.horizon)]
    mean, std = _scales(source)
    scaled: Floats = (after - mean[where]) / std[where]
    return scaled.reshape(len(where), -1)


def _scales(source: SeriesSource) -> tuple[Floats, Floats]:
    """Mean and deviation of the targets of each window's series, (N, 1, D)."""
    count, scales = source.operation.targets, source.operation.scales
    mean = np.asarray([scales[group].mean[:count] for group in source.groups])
    std = np.asarray([scales[group].std[:count] for group in source.groups])
    return mean[:, None], std[:, None]
