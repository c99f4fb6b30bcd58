"""One class a sample. ``B`` is the number of samples, ``C`` of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from netwright.batch import Batch, LossFunction
from netwright.data.dataset import Data
from netwright.errors import LossError, ModelError
from netwright.evaluation import Predictions, baselines, score, worst_samples
from netwright.metrics.answers import class_answer
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.tasks.emitted import OutputKind, output_kind
from netwright.tasks.objective import (
    ELEMENTWISE,
    IGNORE_INDEX,
    Hand,
    LogOfProbabilities,
    Objective,
    as_given,
    like_outputs,
    loss_name,
    no_weights,
    one_hot,
    refuse_distances,
    signs,
    takes,
)
from netwright.tasks.protocol import Running


@dataclass(frozen=True, slots=True)
class Classification:
    """Outputs (B, C), or (B,) or (B, 1) where there are two classes; targets int64 (B,)."""

    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    classes: tuple[str, ...]
    kind: OutputKind
    evidence: str
    whole: bool = False  # every sample of every split has a class: none is to be ignored

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Tensor, batch: Batch) -> Classification:
        """As many columns as classes, or one value for two of them.

        Raises:
            ModelError: There are more or fewer.
        """
        names = spec.classes or ()
        columns = 1 if outputs.ndim == 1 else outputs.shape[1]
        if outputs.ndim > 2 or not (columns == len(names) or (columns == 1 and len(names) == 2)):
            shape = f"(B, {', '.join(map(str, outputs.shape[1:]))})" if outputs.ndim > 1 else "(B,)"
            some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise ModelError(
                where="the module's output",
                expected=f"{len(names)} columns, one for each class of {spec.name} ({some})",
                got=f"{columns} column(s): shape {shape}",
                cure=f"Give the last layer {len(names)} outputs, as nn.Linear(…, {len(names)}).",
            )
        return cls(names, *output_kind(outputs), whole=_whole(spec))

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """Cross entropy in the form that fits what the module emits."""
        if self.kind == "value":
            loss = nn.BCEWithLogitsLoss(pos_weight=None if weight is None else weight[1] / weight[0])
            return Objective(loss, like_outputs, "BCEWithLogitsLoss", f"two classes, {self.evidence}")
        if self.kind == "log_probs":
            return self._of_classes(nn.NLLLoss(weight), as_given, "NLLLoss", self.evidence)
        if self.kind == "probs" and self.evidence.startswith("one value"):
            no_weights(weight, "BCELoss")
            return Objective(nn.BCELoss(), like_outputs, "BCELoss", f"two classes, {self.evidence}")
        if self.kind == "probs":
            reason = f"{self.evidence}: probabilities, so their logarithm is taken (logits would train better)"
            return Objective(LogOfProbabilities(weight), as_given, "NLLLoss of log(output)", reason)
        if self.kind == "sigmoids":
            no_weights(weight, "BCELoss")
            return Objective(nn.BCELoss(), one_hot, "BCELoss", self.evidence)
        return self._of_classes(nn.CrossEntropyLoss(weight), as_given, "CrossEntropyLoss", self.evidence)

    def use_loss(self, loss_fn: LossFunction, outputs: Tensor, batch: Batch) -> Objective:
        """A person's loss; one that compares values one by one is handed classes in that form."""
        name, hand, reason = loss_name(loss_fn), as_given, "asked for"
        refuse_distances(loss_fn)
        chosen: Hand = hand
        if isinstance(loss_fn, nn.SoftMarginLoss):
            chosen, reason = signs, "asked for; it wants -1 and 1, so that is what it is handed, column by column"
        elif isinstance(loss_fn, nn.Module) and type(loss_fn).__name__ in ELEMENTWISE:
            if outputs.ndim == 2 and outputs.shape[1] > 1:
                chosen = one_hot
                reason = "asked for; it compares values one by one, so classes are handed to it one-hot"
            else:
                chosen = like_outputs
                reason = "asked for; targets take the shape of the outputs, so nothing broadcasts"
        elif _of_one_value(loss_fn, outputs, batch):
            chosen, reason = like_outputs, "asked for; it takes targets in the shape of the outputs"
        return self._of_classes(loss_fn, chosen, name, reason)

    def _of_classes(self, loss_fn: LossFunction, hand: Hand, name: str, reason: str) -> Objective:
        """Where no class is ignored nor weighed, the divisor of a mean is the number of samples, without a look."""
        counted = None
        if self.whole and isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss):
            counted = len if loss_fn.weight is None and loss_fn.ignore_index < 0 else None
        return Objective(loss_fn, hand, name, reason, counted)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Outputs as probabilities, float32 (B, C)."""
        outputs = outputs.float()
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            positive = outputs.reshape(-1)
            positive = positive if self.kind == "probs" else positive.sigmoid()
            return torch.stack((1 - positive, positive), dim=1)
        if self.kind == "log_probs":
            return outputs.softmax(1)
        if self.kind == "sigmoids":
            return outputs / outputs.sum(1, keepdim=True).clamp_min(torch.finfo(outputs.dtype).tiny)
        return outputs if self.kind == "probs" else outputs.softmax(1)

    def running(self, outputs: Tensor, batch: Batch) -> Running:
        """Right answers, of the samples whose class is not to be ignored."""
        return self.tally(outputs, batch.target)

    def tally(self, outputs: Tensor, targets: Tensor) -> Running:
        """The same, of the samples of one batch or of several: whole numbers, which add up to the same in any way."""
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            threshold = 0.5 if self.kind == "probs" else 0.0
            right = ((outputs.reshape(-1) > threshold) == targets).sum()
        else:
            right = (outputs.argmax(1) == targets).sum()
        return {"accuracy": (right, len(targets) if self.whole else (targets >= 0).sum())}

    def served(self, outputs: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``probabilities`` float32 (B, C)."""
        return {"probabilities": self.probabilities(outputs)}

    def predictions(self, outputs: Tensor, batch: Batch) -> Predictions:
        """Probabilities (B, C)."""
        ids, probs = batch.sample_ids.cpu().numpy(), self.probabilities(outputs).cpu().numpy()
        if batch.targets is None:
            return Predictions(ids, np.zeros(0, dtype=np.int64), probs)
        targets = batch.target.cpu().numpy()
        kept = targets != IGNORE_INDEX
        return Predictions(ids[kept], targets[kept], probs[kept])

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """Accuracy first, then what else is usual, per-class table and calibration."""
        return score(predictions, task="classification", split=split, classes=self.classes, seed=seed)

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """The most frequent class, a linear model, the nearest neighbours."""
        return baselines(data, split, "classification", seed=seed)

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """Wrong answers, the most confident first."""
        return worst_samples(data, split, predictions)

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """The most probable class, and the probabilities of all."""
        return Prediction(name=name, **class_answer(predictions.probs[index], self.classes))


def _whole(spec: DataSpec) -> bool:
    counts = [(split.class_counts, split.count) for split in spec.splits.values()]
    return all(each is not None and sum(each) == count for each, count in counts)


def _of_one_value(loss_fn: LossFunction, outputs: Tensor, batch: Batch) -> bool:
    """Whether a person's loss takes targets as its one value a sample is, so that nothing broadcasts."""
    if isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss) or outputs[0].numel() != 1:
        return False
    return takes(loss_fn, *like_outputs(outputs, batch))


def refuse_classes(loss_fn: LossFunction, targets: Tensor) -> None:
    """Refuse losses of classes where the targets are real numbers.

    Raises:
        LossError: It is one.
    """
    dtype = str(targets.dtype).removeprefix("torch.")
    if isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss):
        raise LossError(
            where=f"--loss {loss_name(loss_fn)}",
            expected="targets that are classes, int64",
            got=f"{dtype} targets",
            cure="Use a regression loss, as --loss mse, or give the targets as whole numbers from 0.",
        )
    if isinstance(loss_fn, nn.BCELoss | nn.BCEWithLogitsLoss):
        raise LossError(
            where=f"--loss {loss_name(loss_fn)}",
            expected="targets that are classes 0 and 1, whole numbers",
            got=f"{dtype} targets, which are regressed on",
            cure="Give the targets as int64: targets.astype('int64'). They are handed to the loss as it wants them.",
        )
