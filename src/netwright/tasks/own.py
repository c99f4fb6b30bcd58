"""A person's own kind of answer, from a file of theirs: looked at when it is named, and at whatever it gives back.

What is wrong is told by the name of the method, with what was wanted of it and what came.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from netwright.batch import Batch, LossFunction
from netwright.data.dataset import Data
from netwright.errors import ModelError, NetwrightError, UsageError
from netwright.evaluation.predictions import Predictions
from netwright.models import load_function
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.tasks.objective import Objective
from netwright.tasks.protocol import Running, Task
from netwright.traces import own_line, own_trace

CONSTANTS: dict[str, type] = {"name": str, "metric": str, "higher_is_better": bool}
METHODS = ("fit", "propose_loss", "use_loss", "running", "predictions", "score", "baselines", "worst", "answer")
WHOLE = "A whole one stands in docs/own_kinds.md."
_ABSENT = object()


def own_task(reference: str) -> type[Task]:
    """The task that ``file.py:Class`` names, watched.

    Raises:
        MissingFileError: No such file.
        UnknownNameError: No such class in it.
        UsageError: A method is missing, or it is no class.
    """
    found = load_function(reference, where=f"--task {reference}")
    if not inspect.isclass(found):
        raise UsageError(
            where=f"--task {reference}",
            expected="a class, as netwright.tasks.Task has it",
            got=f"a {type(found).__name__}",
            cure=WHOLE,
        )
    missing = [name for name in (*CONSTANTS, *METHODS) if getattr(found, name, _ABSENT) is _ABSENT]
    if missing:
        raise UsageError(
            where=f"--task {reference}",
            expected=f"a class with {', '.join((*CONSTANTS, *METHODS))}",
            got=f"{found.__name__} without {', '.join(missing)}",
            cure=f"Write {'it' if len(missing) == 1 else 'them'} as netwright.tasks.Task has "
            f"{'it' if len(missing) == 1 else 'them'}. {WHOLE}",
        )
    for name, kind in CONSTANTS.items():
        _want(getattr(found, name), kind, f"{reference}.{name}", f"a {kind.__name__}")
    return cast("type[Task]", OwnKind(found, reference))


@dataclass(frozen=True, slots=True)
class OwnKind:
    """A person's class, standing where a task's class stands."""

    kind: Any  # their class
    reference: str

    @property
    def name(self) -> str:
        """As it stands in records."""
        return str(self.kind.name)

    @property
    def metric(self) -> str:
        """Of the running metric."""
        return str(self.kind.metric)

    @property
    def higher_is_better(self) -> bool:
        """Of that metric."""
        return bool(self.kind.higher_is_better)

    def fit(self, spec: DataSpec, outputs: Any, batch: Batch) -> OwnTask:
        """The person's task for a module."""
        where = f"{self.reference}.fit"
        made = _call(where, self.kind.fit, spec, outputs, batch)
        if not isinstance(made, self.kind):
            raise _wrong(where, f"an instance of {self.kind.__name__}", made)
        return OwnTask(made, self.reference)


@dataclass(frozen=True, slots=True)
class OwnTask:
    """A person's task, of which every answer is looked at."""

    task: Any  # an instance of their class
    reference: str

    @property
    def name(self) -> str:
        """As it stands in records."""
        return str(self.task.name)

    @property
    def metric(self) -> str:
        """Of the running metric."""
        return str(self.task.metric)

    @property
    def higher_is_better(self) -> bool:
        """Of that metric."""
        return bool(self.task.higher_is_better)

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """As the person's."""
        return cast(Objective, self._ask("propose_loss", Objective, "a netwright.tasks.Objective", weight))

    def use_loss(self, loss_fn: LossFunction, outputs: Any, batch: Batch) -> Objective:
        """As the person's."""
        wanted = "a netwright.tasks.Objective"
        return cast(Objective, self._ask("use_loss", Objective, wanted, loss_fn, outputs, batch))

    def running(self, outputs: Any, batch: Batch) -> Running:
        """As the person's; its sums are tensors, 0-d."""
        wanted = f'a dict of name to (sum, count), with "{self.metric}" among the names'
        found: dict[str, Any] = self._ask("running", dict, wanted, outputs, batch)
        where = f"{self.reference}.running"
        if self.metric not in found:
            raise _wrong(where, wanted, f"the names {', '.join(map(str, found)) or 'none'}", said=True)
        for name, pair in found.items():
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Tensor) and pair[0].ndim == 0):
                raise _wrong(where, f'a 0-d tensor and a count for "{name}"', pair)
            if not isinstance(pair[1], int | Tensor):
                raise _wrong(where, f'a whole number or a tensor as the count of "{name}"', pair[1])
        return found

    def predictions(self, outputs: Any, batch: Batch) -> Predictions:
        """As the person's; NumPy arrays, with an id for each sample."""
        wanted = "a netwright.evaluation.Predictions of NumPy arrays"
        found = cast(Predictions, self._ask("predictions", Predictions, wanted, outputs, batch))
        where = f"{self.reference}.predictions"
        for name, value in found.arrays().items():
            if type(value).__module__ != "numpy":
                raise _wrong(where, f"`{name}` as a NumPy array", value)
        return found

    def served(self, outputs: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``outputs``, the module's own; what they mean is the person's to say."""
        first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
        return {"outputs": first}

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """As the person's; its headline is one of its scores."""
        wanted = "a netwright.records.Evaluation"
        found = cast(Evaluation, self._ask("score", Evaluation, wanted, predictions, split=split, seed=seed))
        names = [score.name for score in found.scores]
        if found.headline not in names:
            where = f"{self.reference}.score"
            raise _wrong(where, f'a score called "{found.headline}", its headline', ", ".join(names) or "no score",
                         said=True)  # fmt: skip
        return found

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """As the person's."""
        return self._several("baselines", Baseline, data, split, seed=seed)

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """As the person's."""
        return self._several("worst", WorstSample, data, split, predictions)

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """As the person's."""
        wanted = "a netwright.records.Prediction"
        return cast(Prediction, self._ask("answer", Prediction, wanted, predictions, index, name))

    def _ask(self, method: str, kind: type, wanted: str, *given: Any, **named: Any) -> Any:
        where = f"{self.reference}.{method}"
        return _want(_call(where, getattr(self.task, method), *given, **named), kind, where, wanted)

    def _several(self, method: str, kind: type, *given: Any, **named: Any) -> tuple[Any, ...]:
        wanted = f"a tuple of netwright.records.{kind.__name__}, which may be empty"
        found = tuple(self._ask(method, list | tuple, wanted, *given, **named))  # type: ignore[arg-type]
        for one in found:
            _want(one, kind, f"{self.reference}.{method}", wanted)
        return found


# What a person's method is given and gives back is theirs, of any type.
def _call(where: str, method: Callable[..., Any], *given: Any, **named: Any) -> Any:
    try:
        return method(*given, **named)
    except (NetwrightError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        line = own_line(error)
        raise ModelError(
            where=f"{where}, {line}" if line else where,
            expected="an answer",
            got=f"{type(error).__name__}: {error}",
            cure=f"{own_trace(error)}\nCorrect this line.".lstrip("\n"),
        ) from error


def _want(value: Any, kind: type, where: str, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise _wrong(where, wanted, value)
    return value


def _wrong(where: str, wanted: str, got: object, *, said: bool = False) -> ModelError:
    form = str(got) if said else _form(got)
    return ModelError(where=where, expected=wanted, got=form, cure=f"Return that. {WHOLE}")


def _form(value: object) -> str:
    """A value as an error tells it."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list) and len(value) <= 3:
        return f"({', '.join(map(_form, value))})"
    return f"{type(value).__name__} {str(value)[:60]!r}"
