"""Real numbers, one or several a sample. ``B`` is the number of samples, ``D`` of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from netwright.batch import Batch, LossFunction
from netwright.data.dataset import Data
from netwright.errors import ModelError
from netwright.evaluation import Predictions, baselines, score, worst_samples
from netwright.metrics.answers import number_answer
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.rows import ScaleTarget
from netwright.tasks.classification import refuse_classes
from netwright.tasks.emitted import output_kind
from netwright.tasks.objective import (
    ELEMENTWISE,
    Hand,
    Objective,
    as_given,
    like_outputs,
    loss_name,
    refuse_distances,
)
from netwright.tasks.protocol import Running


@dataclass(frozen=True, slots=True)
class Regression:
    """Outputs and targets of as many values a sample: float32 (B,), (B, 1) or (B, D)."""

    name: ClassVar[str] = "regression"
    metric: ClassVar[str] = "mae"
    higher_is_better: ClassVar[bool] = False

    evidence: str
    scale: ScaleTarget | None = None

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Tensor, batch: Batch) -> Regression:
        """As many values as the targets have.

        Raises:
            ModelError: There are more or fewer.
        """
        wanted = torch.Size(spec.target.shape).numel()
        if outputs.shape[1:].numel() != wanted:
            raise ModelError(
                where="the module's output",
                expected=f"{wanted} value(s) a sample, as the targets have",
                got=f"shape (B, {', '.join(map(str, outputs.shape[1:]))})",
                cure="Change the size of the last layer.",
            )
        return cls(output_kind(outputs)[1], spec.preprocess.target)

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """The mean squared error."""
        reason = f"the targets are real numbers; {self.evidence}"
        return Objective(nn.MSELoss(), self._scaled(like_outputs), "MSELoss", reason)

    def use_loss(self, loss_fn: LossFunction, outputs: Tensor, batch: Batch) -> Objective:
        """A person's loss, with targets in the shape of the outputs.

        Raises:
            LossError: It is a loss of classes.
        """
        refuse_classes(loss_fn, batch.target)
        refuse_distances(loss_fn)
        plain = not isinstance(loss_fn, nn.Module) and outputs.shape != batch.target.shape
        if plain or (isinstance(loss_fn, nn.Module) and type(loss_fn).__name__ in ELEMENTWISE):
            reason = "asked for; targets take the shape of the outputs, so nothing broadcasts"
            return Objective(loss_fn, self._scaled(like_outputs), loss_name(loss_fn), reason)
        return Objective(loss_fn, self._scaled(as_given), loss_name(loss_fn), "asked for")

    def _scaled(self, hand: Hand) -> Hand:
        """With the targets scaled before they are handed over."""
        scale = self.scale
        if scale is None:
            return hand

        def handed(outputs: Tensor, batch: Batch) -> tuple[Any, ...]:
            mean, std = (torch.tensor(values, device=batch.target.device) for values in (scale.mean, scale.std))
            flat = batch.target.reshape(len(batch), -1)
            return hand(outputs, replace(batch, targets=((flat - mean) / std).reshape(batch.target.shape)))

        return handed

    def _in_unit(self, outputs: Tensor) -> Tensor:
        """Outputs in the unit of the targets."""
        if self.scale is None:
            return outputs
        mean, std = (torch.tensor(values, device=outputs.device) for values in (self.scale.mean, self.scale.std))
        return (outputs.reshape(len(outputs), -1) * std + mean).reshape(outputs.shape)

    def running(self, outputs: Tensor, batch: Batch) -> Running:
        """Absolute errors, a mean over the values of a sample."""
        targets = batch.target
        error = (self._in_unit(outputs).reshape(targets.shape) - targets).abs()
        return {"mae": (error.reshape(len(targets), -1).mean(1).sum(), len(targets))}

    def served(self, outputs: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``values`` float32 (B, D), in the unit of the targets."""
        return {
            "values": self._in_unit(outputs.float()).flatten(1)
            if outputs.ndim > 1
            else self._in_unit(outputs.float())[:, None]
        }

    def predictions(self, outputs: Tensor, batch: Batch) -> Predictions:
        """The values, shaped as the targets."""
        ids, values = batch.sample_ids.cpu().numpy(), self._in_unit(outputs.float()).cpu().numpy()
        if batch.targets is None:
            return Predictions(ids, np.zeros(0, dtype=np.float32), values)
        targets = batch.target.cpu().numpy()
        return Predictions(ids, targets, values.reshape(targets.shape))

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """The mean absolute error first."""
        return score(predictions, task="regression", split=split, seed=seed)

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """Mean and median of training, a linear model, the nearest neighbours."""
        return baselines(data, split, "regression", seed=seed)

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """The largest errors."""
        return worst_samples(data, split, predictions)

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """The predicted numbers."""
        return Prediction(name=name, **number_answer(predictions.values[index]))
