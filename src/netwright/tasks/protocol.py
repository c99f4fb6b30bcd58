"""What kind of answer a model gives: the interface that each task fulfils, a person's own ones too.

A task is made once a run, from what the module emits for a probe batch, and is asked for everything that depends on
the kind of answer: the loss, the running metric, what is kept of outputs, scores, baselines, and the answer that is
served. ``outputs`` is the tensor that the module answered with, (B, ...); of several answers a dict of such.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from netwright.batch import Batch
from netwright.data.dataset import Data
from netwright.evaluation.predictions import Predictions
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.tasks.objective import Objective

# By name of a metric its sum over a batch, 0-d, and the count it is over.
Running = dict[str, tuple[Tensor, Tensor | int]]


class Task(Protocol):
    """A kind of answer, fitted to what one module emits.

    Attributes:
        name: As it stands in records.
        metric: Name of the running metric by which the best weights are picked.
        higher_is_better: Of that metric.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool]

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Any, batch: Batch) -> Task:
        """The task for a module.

        Args:
            spec: What was understood of the data.
            outputs: What the module emits for ``batch``, in eval mode, with its graph.
            batch: A probe; when predicting it has no targets.

        Raises:
            ModelError: The outputs cannot answer, as 8 columns for 10 classes.
        """

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """The loss that fits the targets and what the module emits, with the reason.

        Args:
            weight: Class weights, float32 (C,), where classes are to be balanced.
        """

    def use_loss(self, loss_fn: Any, outputs: Any, batch: Batch) -> Objective:
        """A person's loss, called as it is, with what it is handed; of several answers a mapping of names to such.

        Raises:
            LossError: Loss, outputs and targets contradict each other.
        """

    def running(self, outputs: Any, batch: Batch) -> Running:
        """What the metrics that are shown while training are made of, by name; ``metric`` among them."""

    def predictions(self, outputs: Any, batch: Batch) -> Predictions:
        """What is kept of the answers to a batch; samples that are to be ignored are left out.

        Where the batch has no targets, ``targets`` is empty.
        """

    def served(self, outputs: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The answer in numbers, as tensors by name: ``probabilities``, ``values``, ``log_probs`` …; can be traced.

        Args:
            outputs: What the module answered with.
            inputs: Fields of the batch, after the tensor operations; answers in a unit of their own need some.
        """

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """Score all predictions of a split: each number with its interval.

        Raises:
            DataError: There is nothing to score.
            NonFiniteError: The model answered NaN or infinity.
        """

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """What simple methods score on the same samples; fitted on the training split alone."""

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """The samples that were answered worst, for looking at; worst first."""

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """The answer to one served input, out of ``predictions`` of its batch."""


@runtime_checkable
class Discerning(Protocol):
    """A kind of task that picks the best weights by a metric that depends on the classes."""

    @classmethod
    def metric_for(cls, classes: tuple[str, ...]) -> str:
        """Name of the running metric, in place of ``metric``."""


@runtime_checkable
class Calibrated(Protocol):
    """A task whose answers carry intervals, made of what it got wrong on the validation split."""

    def calibrated(self, val: Predictions) -> Task:
        """The task with intervals.

        Args:
            val: Predictions of the validation split, with their targets.
        """

    def remembered(self, evaluation: Evaluation) -> Task:
        """The task with the intervals of an evaluation that was kept."""
