"""The run that a bundle is compared with: its module asked in numbers, and how far rounding moves its answers."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import Binding, ask, in_full
from netwright.data import tensors
from netwright.data.batches import eval_batches
from netwright.data.dataset import Data
from netwright.data.raw import read_input
from netwright.errors import CertificateError
from netwright.inference import Trained, fit_task
from netwright.predicting import fields_of
from netwright.randomness import unchanged_random
from netwright.session import evaluating
from netwright.shipping.bundle import first_batch, scored, stored
from netwright.shipping.compare import LARGE, column_of
from netwright.tasks import Task
from netwright.tasks.multi_label import MultiLabel

Arrays = dict[str, NDArray[Any]]
TOLERANCE = 1e-4  # of probabilities; of values as a share of the targets' deviation, see ``compare.LARGE``
# Where a module's own answers move by more than the tolerance when its weights are moved by a rounding, nobody can
# promise less: so many times that is allowed (runtimes add up in another order), up to a limit. Spectra of near
# silence, put to deviation 1, are such.
NUDGED, MOST = 10.0, 2e-3
NUDGES = 2  # of the weights, each by a rounding


@dataclasses.dataclass(slots=True)
class Subject:
    """A run, and how its module is asked in numbers.

    Attributes:
        data: As the run had them, and with what is done to batches left out.
        scales: By name of an answer the deviation of its targets, and by ``column_of`` that of one of their columns.
        others: The same with a module that rounds otherwise, made when they are asked for.
    """

    trained: Trained
    data: Data
    task: Task
    binding: Binding
    scales: dict[str, float]
    others: list[Subject] = dataclasses.field(default_factory=list)

    @classmethod
    def of(cls, trained: Trained, data: Data) -> Subject:
        """From a run that was opened again."""
        batch = first_batch(data, scored(data), 8)
        ready = Batch(tensors.apply_to(trained.data_spec.preprocess, batch.inputs), None, batch.sample_ids)
        device = next(trained.model.parameters()).device
        with unchanged_random(device):
            task, binding = fit_task(trained.model, trained.data_spec, ready, device, beam=trained.beam)
        return cls(trained, data, task, binding, _scales(data))

    def has_labels(self, output: str) -> bool:
        """Whether an output decides any number of labels, not one of some classes."""
        spec = self.trained.data_spec
        tasks = {one.name: one.task for one in spec.answers}
        return tasks.get(output.rpartition(".")[0], spec.task) == MultiLabel.name

    def answers(self, inputs: dict[str, Tensor]) -> Arrays:
        """The module's answers to stored inputs, in numbers, as the graph should give them."""
        return self.answers_to(tensors.apply_to(self.trained.data_spec.preprocess, inputs))

    def answers_to(self, inputs: dict[str, Tensor]) -> Arrays:
        """The same of inputs that are made ready."""
        model = self.trained.model
        with evaluating(model), torch.no_grad():
            served = self.task.served(in_full(ask(self.binding, model, inputs)), inputs)
        return {name: value.cpu().numpy() for name, value in served.items()}

    def rounding(self, inputs: dict[str, Tensor]) -> float:
        """How far rounding moves the module's answers to stored inputs, measured as ``gap`` does.

        It is asked again with its weights and buffers moved by a rounding, each up or down at random, and in float64.
        """
        true = self.answers(inputs)
        largest = 0.0
        for other in self._others():
            try:
                found = other.answers(inputs)
            except Exception:
                continue
            largest = max([largest, *(gap(value, found.get(name), name, self.scales) for name, value in true.items())])
        return largest

    def rounding_of(self, raw: Any) -> float:
        """The same of a raw input."""
        spec = self.trained.data_spec
        return self.rounding(fields_of([read_input(raw, spec.kind, spec.inputs, spec.preprocess)], spec))

    def _others(self) -> list[Subject]:
        if not self.others:
            models = [_nudged(self.trained.model, seed) for seed in range(NUDGES)]
            models.append(_InDouble(copy.deepcopy(self.trained.model).double()))
            self.others = [
                dataclasses.replace(self, trained=dataclasses.replace(self.trained, model=one), others=[])
                for one in models
            ]
        return self.others

    def batches(self, size: int) -> Iterator[Batch]:
        """The compared split, as it is stored."""
        return iter(eval_batches(stored(self.data), scored(self.data), batch_size=size, workers=0))


def _scales(data: Data) -> dict[str, float]:
    """Deviations of targets that are real numbers: of each column, and of all together, as of a series' values."""
    source = data.split(scored(data))
    held = getattr(source, "all_targets", None)
    named = held if isinstance(held, dict) else {"": np.asarray(source.targets)}
    found = {}
    for name, values in named.items():
        numbers = np.asarray(values, dtype=np.float64)
        deviation = float(np.nanstd(numbers)) if numbers.size else 0.0
        found[name] = deviation if np.isfinite(deviation) and deviation > 0 else 1.0
        if numbers.ndim == 2 and len(numbers):
            each = {column_of(name, place): float(value) for place, value in enumerate(np.nanstd(numbers, axis=0))}
            found |= {key: value for key, value in each.items() if np.isfinite(value) and value > 0}
    return found


def gap(true: NDArray[Any], got: NDArray[Any] | None, name: str, scales: Mapping[str, float]) -> float:
    """The largest difference of one output; infinite where one is no number and the other is."""
    if got is None or got.shape != true.shape:
        return float("inf")
    if not true.size:
        return 0.0
    one, other = true.astype(np.float64), got.astype(np.float64)
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    known = np.isfinite(one)
    if name.endswith("log_probs"):
        one, other, known = np.exp(one), np.exp(other), np.ones_like(known)
    gaps = np.abs(one - other)[known]
    if name.endswith(("values", "outputs")):
        answer = name.rpartition(".")[0]
        scale: Any = scales.get(answer, 1.0)
        if true.ndim == 2 and name.endswith("values"):
            each = [scales.get(column_of(answer, place), scale) for place in range(true.shape[1])]
            scale = np.broadcast_to(each, true.shape)[known]
        gaps = gaps / np.maximum(scale, LARGE * np.abs(one[known]))
    return float(gaps.max(initial=0.0))


def _nudged(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights and buffers are moved by a rounding up or down."""
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in (*moved.parameters(), *moved.buffers()):
            if one.is_floating_point():
                signs = torch.rand(one.shape, generator=generator).sub_(0.5).sign_()
                one.mul_(1 + signs.to(one.dtype) * torch.finfo(one.dtype).eps)
    return moved


class _InDouble(nn.Module):
    """A module in float64 that is handed float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *fields: Any, **named: Any) -> Any:
        """As the module's own."""
        return self.model(*map(_wide, fields), **{name: _wide(value) for name, value in named.items()})


def _wide(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def refuse(where: str, got: str, cure: str = "") -> CertificateError:
    """The error for a bundle that answers otherwise."""
    return CertificateError(
        where=where,
        expected="answers as the trained module gives them",
        got=got,
        cure=cure or "Nothing was written: export again, and if it stays so, report it with the module.",
    )
