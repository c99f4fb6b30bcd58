"""Several labels a sample, each there or not. ``B`` is the number of samples, ``C`` of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.batch import Batch, LossFunction
from netwright.data.dataset import Data
from netwright.data.ragged import RaggedSource
from netwright.data.sources import Source, TensorSource
from netwright.errors import LossError, ModelError
from netwright.evaluation import Predictions
from netwright.evaluation.label_baselines import frequent_labels, of_numbers, of_texts
from netwright.evaluation.multi_label import THRESHOLD, score_multi_label
from netwright.evaluation.text_baselines import Written
from netwright.evaluation.worst import worst_label_sets
from netwright.metrics.answers import label_answer
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.tasks.emitted import last_operation
from netwright.tasks.objective import (
    ELEMENTWISE,
    Objective,
    as_given,
    like_outputs,
    loss_name,
    no_weights,
    refuse_distances,
)
from netwright.tasks.protocol import Running

# Losses of torch.nn that take these targets and outputs as they are.
OF_LABELS = ELEMENTWISE | {"MultiLabelSoftMarginLoss"}


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """Outputs (B, C), a logit or the output of a sigmoid for each label; targets float32 (B, C), 0 or 1."""

    name: ClassVar[str] = "multi_label"
    # Not the share of right labels: most are absent, so that it is high for a model that answers none.
    metric: ClassVar[str] = "micro_f1"
    higher_is_better: ClassVar[bool] = True

    classes: tuple[str, ...]
    sigmoids: bool

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Tensor, batch: Batch) -> MultiLabel:
        """A column for each label, each for itself.

        Raises:
            ModelError: There are more or fewer columns, or they share one probability, as a softmax makes them.
        """
        names = spec.classes or ()
        columns = outputs.shape[1] if outputs.ndim == 2 else 1
        if outputs.ndim > 2 or columns != len(names) or (outputs.ndim == 1 and len(names) != 1):
            shape = f"(B, {', '.join(map(str, outputs.shape[1:]))})" if outputs.ndim > 1 else "(B,)"
            some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise ModelError(
                where="the module's output",
                expected=f"{len(names)} columns, one for each label of {spec.name} ({some})",
                got=f"shape {shape}",
                cure=f"Give the last layer {len(names)} outputs, as nn.Linear(…, {len(names)}).",
            )
        last = last_operation(outputs)
        if last.startswith(("Softmax", "LogSoftmax")) and len(names) > 1:
            raise ModelError(
                where="the module's output",
                expected="a number for each label by itself, since a sample may have several",
                got="a softmax, in which labels share one probability",
                cure="Leave the softmax out.",
            )
        return cls(names, last.startswith("Sigmoid"))

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """Binary cross entropy for each label."""
        if self.sigmoids:
            no_weights(weight, "BCELoss")
            return Objective(nn.BCELoss(), like_outputs, "BCELoss", "several labels a sample, each out of a sigmoid")
        no_weights(weight, "BCEWithLogitsLoss")
        reason = "several labels a sample, and each has a logit of its own"
        return Objective(nn.BCEWithLogitsLoss(), like_outputs, "BCEWithLogitsLoss", reason)

    def use_loss(self, loss_fn: LossFunction, outputs: Tensor, batch: Batch) -> Objective:
        """A person's loss, with targets in the shape of the outputs.

        Raises:
            LossError: It is one of a single class a sample.
        """
        refuse_distances(loss_fn)
        if isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss | nn.MultiMarginLoss | nn.MultiLabelMarginLoss):
            raise LossError(
                where=f"--loss {loss_name(loss_fn)}",
                expected="a loss of labels that are there or not, 0 or 1",
                got="one of a single class a sample, or of lists of labels",
                cure="Leave out the loss, or take --loss BCEWithLogitsLoss.",
            )
        known = isinstance(loss_fn, nn.Module) and type(loss_fn).__name__ in OF_LABELS
        hand = like_outputs if known else as_given
        return Objective(loss_fn, hand, loss_name(loss_fn), "asked for; targets are 0 or 1 for each label")

    def running(self, outputs: Tensor, batch: Batch) -> Running:
        """Twice the labels found, out of those there and those answered; and right labels, there or not."""
        wanted = batch.target > THRESHOLD
        given = (outputs > (THRESHOLD if self.sigmoids else 0.0)).reshape(wanted.shape)
        return {
            "micro_f1": (2 * (given & wanted).sum(), given.sum() + wanted.sum()),
            "label_accuracy": ((given == wanted).sum(), wanted.numel()),
        }

    def served(self, outputs: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``probabilities`` of each label, float32 (B, C)."""
        values = outputs.detach().float().reshape(-1, len(self.classes))
        return {"probabilities": values if self.sigmoids else values.sigmoid()}

    def predictions(self, outputs: Tensor, batch: Batch) -> Predictions:
        """The probability of each label, (B, C)."""
        ids, probs = batch.sample_ids.cpu().numpy(), self.served(outputs, batch.inputs)["probabilities"].cpu().numpy()
        targets = np.zeros(0, dtype=np.float32) if batch.targets is None else batch.target.cpu().numpy()
        return Predictions(ids, targets, probs)

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """Micro F1 first, then precision, recall, means over labels, exact sets; a table by label."""
        del seed  # intervals here are in closed form
        return score_multi_label(predictions, split=split, classes=self.classes)

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """The most frequent set of labels, and a linear model for each label."""
        train, scored = data.train, data.split(split)
        constant = frequent_labels(train.targets, scored.targets, self.classes)
        texts = _written(train), _written(scored)
        if texts[0] is not None and texts[1] is not None:
            unspaced = data.spec.preprocess.text is not None and data.spec.preprocess.text.kind == "character"
            return (
                constant,
                *of_texts((texts[0], train.targets), (texts[1], scored.targets), unspaced=unspaced, seed=seed),
            )
        if isinstance(train, TensorSource) and isinstance(scored, TensorSource):
            numbers = of_numbers((_flat(train), train.targets), (_flat(scored), scored.targets), seed=seed)
            return constant, numbers
        return (constant,)

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """Samples with the most, and the surest, wrong labels."""
        return worst_label_sets(data, split, predictions)

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """The labels with a probability above 0.5, the most probable first, and the probabilities of all."""
        return Prediction(name=name, **label_answer(predictions.probs[index], self.classes, THRESHOLD))


def _written(source: Source) -> Written | None:
    """The texts of a split; None where it has none."""
    if not isinstance(source, RaggedSource) or source.texts is None:
        return None
    return Written(source.texts, source.seconds)


def _flat(source: TensorSource) -> NDArray[Any]:
    """All inputs as float32 (N, F)."""
    flat = [value.reshape(len(value), -1).float() for value in source.inputs.values()]
    return torch.cat(flat, dim=1).numpy()
