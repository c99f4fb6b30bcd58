"""What comes next in a series. ``B`` windows, ``H`` steps ahead, ``D`` columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.batch import Batch, LossFunction
from netwright.data.dataset import Data
from netwright.data.series import SeriesSource
from netwright.errors import ModelError
from netwright.evaluation import Predictions
from netwright.evaluation.forecasts import score_forecasts
from netwright.evaluation.series_baselines import series_baselines
from netwright.metrics.answers import forecast_answer, forecast_steps
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Forecast, ForecastStep, Prediction, WorstSample
from netwright.tasks.classification import refuse_classes
from netwright.tasks.objective import Hand, Objective, loss_name, refuse_distances
from netwright.tasks.protocol import Running
from netwright.windows import WindowSeries

# A forecast's interval holds so much of what comes, if the future is as the validation part was.
COVERAGE = 0.9
SHOWN = 6  # forecasts that are kept to be drawn: the worst, and typical ones


@dataclass(frozen=True, slots=True)
class Forecasting:
    """Outputs (B, H), or (B, H, D), or flat (B, H * D), scaled as the inputs are; targets in their own unit."""

    name: ClassVar[str] = "forecasting"
    metric: ClassVar[str] = "mae"
    higher_is_better: ClassVar[bool] = False

    operation: WindowSeries
    half_widths: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Tensor, batch: Batch) -> Forecasting:
        """As many values as there are steps ahead.

        Raises:
            ModelError: There are more or fewer.
        """
        operation = spec.preprocess.windows
        if operation is None:
            raise ModelError(
                where="forecasting", expected="a series", got=f"{spec.kind} data", cure="Leave out --task."
            )
        wanted = operation.horizon * operation.targets
        if outputs.shape[1:].numel() != wanted:
            shape = (operation.horizon, operation.targets) if operation.targets > 1 else (operation.horizon,)
            raise ModelError(
                where="the module's output",
                expected=f"{wanted} values a window: shape (B, {', '.join(map(str, shape))})",
                got=f"shape (B, {', '.join(map(str, outputs.shape[1:]))})",
                cure=f"Give the last layer {wanted} outputs, as nn.Linear(…, {wanted}).",
            )
        return cls(operation)

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """The mean squared error of scaled values."""
        return self._objective(nn.MSELoss(), "MSELoss", "of scaled values, so that all columns and series count alike")

    def use_loss(self, loss_fn: LossFunction, outputs: Tensor, batch: Batch) -> Objective:
        """A person's loss, of scaled values; unknown targets are left out.

        Raises:
            LossError: It is a loss of classes.
        """
        refuse_classes(loss_fn, batch.target)
        refuse_distances(loss_fn)
        return self._objective(loss_fn, loss_name(loss_fn), "asked for; it sees outputs and targets scaled alike")

    def _objective(self, loss_fn: LossFunction, name: str, reason: str) -> Objective:
        hand: Hand = self._known
        return Objective(loss_fn, hand, name, reason, lambda batch: (~batch.target.isnan()).sum())

    def _known(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs and scaled targets in one shape; without those that are not known where there are such."""
        targets = self._scaled(batch)
        outputs = outputs.reshape(targets.shape)
        unknown = targets.isnan()
        return (outputs[~unknown], targets[~unknown]) if bool(unknown.any()) else (outputs, targets)

    def _shape(self, batch: Batch) -> tuple[int, int, int]:
        return len(batch), self.operation.horizon, self.operation.targets

    def _scaled(self, batch: Batch) -> Tensor:
        loc, scale = batch.inputs["loc"][:, None], batch.inputs["scale"][:, None]
        return ((batch.target.reshape(self._shape(batch)) - loc) / scale).reshape(batch.target.shape)

    def _in_unit(self, outputs: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Forecasts in the unit of the series, (B, H, D)."""
        loc, scale = inputs["loc"][:, None], inputs["scale"][:, None]
        return outputs.reshape(-1, self.operation.horizon, self.operation.targets) * scale + loc

    def running(self, outputs: Tensor, batch: Batch) -> Running:
        """Absolute errors over all steps that are known, in the unit of the series."""
        error = (self._in_unit(outputs, batch.inputs) - batch.target.reshape(self._shape(batch))).abs()
        return {"mae": (error.nansum(), (~error.isnan()).sum())}

    def served(self, outputs: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``values`` float32 (B, H, D), in the unit of the series; of ``inputs`` it takes ``loc`` and ``scale``."""
        return {"values": self._in_unit(outputs.float(), inputs)}

    def predictions(self, outputs: Tensor, batch: Batch) -> Predictions:
        """Forecasts and what came, (B, H, D), with each window's series and the time of its first step."""
        ids, values = batch.sample_ids.cpu().numpy(), self.served(outputs, batch.inputs)["values"].cpu().numpy()
        targets = np.zeros((0, *values.shape[1:]), dtype=np.float32)
        if batch.targets is not None:
            targets = batch.target.reshape(self._shape(batch)).cpu().numpy()
        groups, origins = (batch.inputs[name].cpu().numpy() for name in ("series", "origin"))
        return Predictions(ids, targets, values, groups=groups, times=origins)

    def calibrated(self, val: Predictions) -> Forecasting:
        """With intervals as wide as they had to be on the validation part, step by step.

        Source:
            Split conformal prediction: Lei et al. 2018, arXiv:1604.04173; here of dependent windows, so what it
            promises holds as far as the future is as that part was.
        """
        error = np.abs(val.probs.astype(np.float64) - val.targets)
        widths = np.empty(error.shape[1:])
        for step, column in np.ndindex(widths.shape):
            known = np.sort(error[~np.isnan(error[:, step, column]), step, column])
            place = math.ceil((len(known) + 1) * COVERAGE) - 1
            widths[step, column] = known[min(place, len(known) - 1)] if len(known) else np.nan
        return replace(self, half_widths=widths)

    def remembered(self, evaluation: Evaluation) -> Forecasting:
        """With the intervals of an evaluation that was kept."""
        widths = [row.half_width for row in evaluation.horizon if row.half_width is not None]
        return replace(self, half_widths=np.asarray(widths)) if len(widths) == self.operation.horizon else self

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """MASE first, then sMAPE, RMSE and MAE, and the error by step."""
        del seed
        naive = np.asarray([self.operation.scales[group].naive_error for group in _groups(predictions)])
        return score_forecasts(
            predictions.probs.astype(np.float64),
            predictions.targets.astype(np.float64),
            naive,
            _groups(predictions),
            split=split,
            half_widths=self.half_widths,
        )

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """Naive, seasonal naive and a linear autoregression, from the same origins."""
        del seed
        train, scored = data.train, data.split(split)
        if not isinstance(train, SeriesSource) or not isinstance(scored, SeriesSource):
            return ()
        return series_baselines(train, scored)

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """Forecasts to be drawn: those with the largest errors, and at the end a typical one."""
        source = data.split(split)
        if not isinstance(source, SeriesSource):
            return ()
        error = np.nanmean(np.abs(predictions.probs - predictions.targets).reshape(len(predictions), -1), axis=1)
        order = [int(place) for place in np.argsort(-error, kind="stable")]
        picked: list[int] = []
        for place in order:  # neighbours overlap: one of them is enough
            if all(abs(place - other) >= self.operation.horizon for other in picked):
                picked.append(place)
            if len(picked) == SHOWN - 1:
                break
        picked.append(order[len(order) // 2])
        return tuple(self._drawn(source, predictions, place, float(error[place])) for place in picked)

    def _drawn(self, source: SeriesSource, predictions: Predictions, place: int, error: float) -> WorstSample:
        sample_id = int(predictions.sample_ids[place])
        origin, operation = int(source.origins[sample_id]), self.operation
        before = min(operation.context, 4 * operation.horizon)
        width = None if self.half_widths is None else self.half_widths[:, 0]
        value = predictions.probs[place, :, 0].astype(np.float64)
        truth = predictions.targets[place, :, 0]
        return WorstSample(
            sample_id=sample_id,
            name=source.name(sample_id),
            target=f"{truth[0]:.6g}, …",
            prediction=f"{value[0]:.6g}, …",
            error=error,
            forecast=Forecast(
                column=operation.columns[0],
                past=_plain(source.values[origin - before : origin, 0]),
                truth=_plain(truth),
                steps=tuple(
                    ForecastStep(**step)
                    for step in forecast_steps(operation.grid, value, width, float(source.moments[origin]))
                ),
            ),
        )

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """What is to come of each column, with the time of each step and its interval."""
        operation = self.operation
        origin = 0.0 if predictions.times is None else float(predictions.times[index])
        series = operation.names[_groups(predictions)[index]]
        told = forecast_answer(operation, predictions.probs[index], self.half_widths, origin)
        return Prediction(name=series if operation.series else name, **told)


def _groups(predictions: Predictions) -> NDArray[np.int64]:
    return np.zeros(len(predictions), dtype=np.int64) if predictions.groups is None else predictions.groups


def _plain(values: NDArray[Any]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)
