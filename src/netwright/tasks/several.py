"""Several answers at once, each with a task and a loss of its own; outputs and targets are dicts by answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.data.dataset import Data
from netwright.data.sources import TensorSource
from netwright.data.tables import TableSource
from netwright.errors import LossError, UsageError
from netwright.evaluation import Predictions
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, Score, WorstSample
from netwright.tasks.classification import Classification
from netwright.tasks.multi_label import MultiLabel
from netwright.tasks.objective import Objective, loss_name
from netwright.tasks.protocol import Running, Task
from netwright.tasks.regression import Regression

# What an answer of several may be.
KINDS: dict[str, type[Task]] = {kind.name: kind for kind in (Classification, MultiLabel, Regression)}
WORST_EACH = 8


@dataclass(frozen=True, slots=True)
class Several:
    """A task for each answer. The loss is the sum of theirs; numbers to regress on are scaled, so it is no mere sum."""

    name: ClassVar[str] = "several"
    metric: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    tasks: dict[str, Task]

    @classmethod
    def fit(cls, spec: DataSpec, outputs: dict[str, Tensor], batch: Batch) -> Several:
        """Fit each answer's task to the output of its name.

        Raises:
            ModelError: An output cannot answer.
        """
        tasks = {}
        for answer in spec.answers:
            own = spec_of(spec, answer.name)
            tasks[answer.name] = KINDS[answer.task].fit(own, outputs[answer.name], _part(batch, answer.name))
        return cls(tasks)

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """The sum of the losses that each answer proposes.

        Raises:
            UsageError: Class weights are asked for: of which answer is not known.
        """
        if weight is not None:
            raise UsageError(
                where="--class-weights balanced", expected="one answer with classes", got=", ".join(self.tasks),
                cure='Give the losses: loss={"kind": nn.CrossEntropyLoss(weight), …}.',
            )  # fmt: skip
        return self._sum({name: task.propose_loss(None) for name, task in self.tasks.items()})

    def use_loss(self, loss_fn: Any, outputs: dict[str, Tensor], batch: Batch) -> Objective:
        """A person's losses by answer, or one function of both dicts.

        Args:
            loss_fn: A mapping of answers to losses – answers without one get the one that is proposed –, or a function
                ``(outputs, targets) -> loss`` of dicts.

        Raises:
            LossError: A loss of ``torch.nn`` is given for all, or one for an answer that is not there.
        """
        if isinstance(loss_fn, Mapping):
            unknown = [name for name in loss_fn if name not in self.tasks]
            if unknown:
                raise LossError(
                    where="loss", expected=f"losses for {', '.join(self.tasks)}", got=f"one for {unknown[0]}",
                    cure="Name the answers as the data do.",
                )  # fmt: skip
            return self._sum(
                {
                    name: task.use_loss(loss_fn[name], outputs[name], _part(batch, name))
                    if name in loss_fn
                    else task.propose_loss(None)
                    for name, task in self.tasks.items()
                }
            )
        if isinstance(loss_fn, nn.Module) and type(loss_fn).__module__.startswith("torch."):
            raise LossError(
                where=f"--loss {loss_name(loss_fn)}",
                expected="a loss for each answer",
                got="one for all",
                cure=f'Give them in Python: loss={{"{next(iter(self.tasks))}": nn.{loss_name(loss_fn)}(), …}}.',
            )
        return Objective(loss_fn, lambda outputs, batch: (outputs, batch.targets), loss_name(loss_fn), "asked for")

    def _sum(self, objectives: dict[str, Objective]) -> Objective:
        name = " + ".join(f"{one.name} of {answer}" for answer, one in objectives.items())
        reason = "; ".join(f"{answer}: {one.reason}" for answer, one in objectives.items())
        return Objective(Total(objectives), lambda outputs, batch: (outputs, batch), name, reason)

    def running(self, outputs: dict[str, Tensor], batch: Batch) -> Running:
        """The running metrics of all answers, as ``kind/accuracy``."""
        return {
            f"{name}/{metric}": sums
            for name, task in self.tasks.items()
            for metric, sums in task.running(outputs[name], _part(batch, name)).items()
        }

    def served(self, outputs: dict[str, Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of each answer, as ``answer.probabilities``."""
        return {
            f"{name}.{what}": value
            for name, task in self.tasks.items()
            for what, value in task.served(outputs[name], inputs).items()
        }

    def predictions(self, outputs: dict[str, Tensor], batch: Batch) -> Predictions:
        """Those of each answer, under its name."""
        ids = batch.sample_ids.cpu().numpy()
        nothing = np.zeros((len(ids), 0), dtype=np.float32)
        parts = {name: task.predictions(outputs[name], _part(batch, name)) for name, task in self.tasks.items()}
        return Predictions(ids, nothing, nothing, parts=parts)

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """All scores of all answers; the first answer's stands first."""
        found = {
            name: task.score((predictions.parts or {})[name], split=split, seed=seed)
            for name, task in self.tasks.items()
        }
        first = next(iter(found))
        return Evaluation(
            task=self.name,
            split=split,
            count=len(predictions),
            headline=f"{first}/{found[first].headline}",
            scores=tuple(_named(name, score) for name, one in found.items() for score in one.scores),
            answers=found,
            notes=tuple(f"{name}: {note}" for name, one in found.items() for note in one.notes),
        )

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """Those of each answer."""
        return tuple(
            one.model_copy(
                update={
                    "name": f"{name}/{one.name}",
                    "score": _named(name, one.score),
                    "others": tuple(_named(name, other) for other in one.others),
                }
            )
            for name, task in self.tasks.items()
            for one in task.baselines(data_of(data, name), split, seed=seed)
        )

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """The worst of each answer."""
        return tuple(
            one.model_copy(update={"target": f"{name}: {one.target}", "prediction": f"{name}: {one.prediction}"})
            for name, task in self.tasks.items()
            for one in task.worst(data_of(data, name), split, (predictions.parts or {})[name])[:WORST_EACH]
        )

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """Each answer under its name."""
        parts = predictions.parts or {}
        answers = {answer: task.answer(parts[answer], index, answer) for answer, task in self.tasks.items()}
        return Prediction(name=name, answers=answers)


class Total(nn.Module):
    """The sum of the mean losses of several answers; a module, so that their class weights go along to a device."""

    def __init__(self, objectives: dict[str, Objective]) -> None:
        super().__init__()
        self.objectives = objectives
        self.losses = nn.ModuleList(one.loss_fn for one in objectives.values() if isinstance(one.loss_fn, nn.Module))

    def forward(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Outputs by answer, and the batch with targets by answer, to a 0-d loss."""
        losses = []
        for name, objective in self.objectives.items():
            part = _part(batch, name)
            losses.append(objective.mean(objective(outputs[name], part), objective.count(part)))
        return torch.stack(losses).sum()


def spec_of(spec: DataSpec, name: str) -> DataSpec:
    """The record of the data as if ``name`` were the only answer."""
    answer = next(one for one in spec.answers if one.name == name)
    kept = tuple(one for one in spec.preprocess.operations if one.op != "scale_target" or one.answer == name)
    return spec.model_copy(
        update={
            "task": answer.task,
            "classes": answer.classes,
            "target": answer.target,
            "answers": (),
            "preprocess": spec.preprocess.model_copy(update={"operations": kept}),
        }
    )


def data_of(data: Data, name: str) -> Data:
    """The data as if ``name`` were the only answer."""
    sources = {}
    for split in data.spec.splits:
        source = data.split(split)
        if isinstance(source, TensorSource | TableSource) and isinstance(source.all_targets, dict):
            source = replace(source, all_targets=source.all_targets[name])
        sources[split] = source
    return Data(spec_of(data.spec, name), sources["train"], sources.get("val"), sources.get("test"))


def _part(batch: Batch, name: str) -> Batch:
    return replace(batch, targets=batch.targets[name]) if isinstance(batch.targets, dict) else batch


def _named(answer: str, score: Score) -> Score:
    return score.model_copy(update={"name": f"{answer}/{score.name}"})
