"""D01, D02: would the module learn several times better if what reaches its first layer were standardised?

The same short training is done twice, on inputs as they are and with mean and spread taken out at the first layer;
only what was scaled by the module itself, or starts with a normalisation, reaches that layer well scaled.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.data_rows import NORMS, WEIGHTS, First, first_of, pool_tensor
from netwright.checks.runner import Check
from netwright.checks.sizes import MOST_DATA, is_small
from netwright.checks.sourcecode import Place, class_place, made_at
from netwright.checks.subject import NotCheckedError, Subject
from netwright.checks.sweep import Short, batches_of, train
from netwright.records import Finding

LARGE = 10.0  # root mean square of a feature above which the experiment is made; unit scale is what layers are made for
SMALL = 0.02  # standard deviation of all inputs below which it is made: pixels divided by 255 twice have 0.001
APART = 1e3  # ratio of the spreads of two columns
BETTER = 3.0  # times as much must be learned with standardised inputs …
LEARNED = 0.15  # … and at least this share of the loss, for the comparison to mean anything
STEPS = (80, 40, 20)
MOST_STORED = 100_000_000  # numbers of a data set that are copied
FEW_FEATURES = 64  # up to so many columns are standardised one by one; pixels have one scale together


def scales(subject: Subject) -> Iterator[Finding]:
    """Whether inputs are badly scaled, proven by two short trainings."""
    first = first_of(subject)
    if isinstance(first.layer, NORMS) or not isinstance(first.layer, WEIGHTS) or not first.inputs.is_floating_point():
        return
    values = first.features()
    if not np.isfinite(values).all() or pool_tensor(subject) is None:
        return
    told = _odd(values)
    if told is None:
        return
    code, words = told
    raw, standard, steps = _compare(subject, first, values)
    base = standard.first
    gained, own = (base - standard.last) / abs(base), max(0.0, (base - raw.last) / abs(base))
    if not np.isfinite(standard.last) or gained < LEARNED or own * BETTER > gained:
        return
    place = made_at(subject.original or subject.model, first.name)
    end = f"{raw.last:.3g}" if np.isfinite(raw.last) else "infinity"
    yield finding(
        code,
        layer=first.name or None,
        place=place,
        evidence=f"{words} {steps} steps on the same batches end at a loss of {end}; with standardised inputs at "
        f"{standard.last:.3g}.",
        cure=_cure(subject, code),
    )


def _cure(subject: Subject, code: str) -> str:
    if code == "D02":
        return "Scale once only: pixels / 255, or ToTensor() alone."
    picture = pool_tensor(subject)
    if picture is not None and picture.ndim >= 3:
        return "x = (x - mean) / std with the mean and std of the training pixels, for every split."
    return "mean, std = x_train.mean(0), x_train.std(0)\nx = (x - mean) / std for every split; or nn.BatchNorm1d first."


def _odd(values: NDArray[np.float64]) -> tuple[str, str] | None:
    """Code and words where the scale of what reaches the first layer is odd."""
    rms, std = np.sqrt((values**2).mean(0)), values.std(0)
    whole, centre = float(values.std()), float(abs(values.mean()))
    if 0 < whole < SMALL and centre < 10 * SMALL:
        return "D02", f"What reaches the first layer has mean {values.mean():.2g} and std {whole:.2g}."
    varied = np.flatnonzero(std > 0)
    if not len(varied):
        return None
    low, high = varied[std[varied].argmin()], varied[std[varied].argmax()]
    several = 2 <= values.shape[1] <= FEW_FEATURES and std[high] > APART * std[low]
    if several:
        return "D01", f"Column {high} of the inputs has std {std[high]:.3g}, column {low} {std[low]:.3g}."
    if float(rms.max()) > LARGE:
        return "D01", f"Inputs have mean {values.mean():.3g} and std {whole:.3g}, at most {abs(values).max():.4g}."
    return None


class _Standard:
    """A hook that takes mean and spread out of a layer's first argument."""

    def __init__(self, first: First, values: NDArray[np.float64]) -> None:
        columns = values.shape[1] <= FEW_FEATURES
        mean = values.mean(0) if columns else np.full(values.shape[1], values.mean())
        std = values.std(0) if columns else np.full(values.shape[1], values.std())
        shape = [1] * first.inputs.ndim
        shape[first.axis] = values.shape[1]
        self.mean = torch.tensor(mean, dtype=first.inputs.dtype).reshape(shape)
        self.std = torch.tensor(np.where(std > 1e-12, std, 1.0), dtype=first.inputs.dtype).reshape(shape)

    def __call__(self, module: nn.Module, args: Any) -> Any:
        del module
        if args[0].ndim != self.mean.ndim:
            return None
        return ((args[0] - self.mean) / self.std, *args[1:])


def _compare(subject: Subject, first: First, values: NDArray[np.float64]) -> tuple[Short, Short, int]:
    batches = batches_of(subject)
    began = time.perf_counter()
    train(subject, batches, factor=1.0, steps=2)
    step_s = (time.perf_counter() - began) / 5
    steps = next((steps for steps in STEPS if 2 * steps * step_s < 0.3 * subject.budget.left()), 0)
    if not steps:
        raise NotCheckedError(f"two short trainings would take {2 * STEPS[-1] * step_s:.0f} s")
    other = copy.copy(subject)
    other.model = subject.fresh(train=True)
    other.model.get_submodule(first.name).register_forward_pre_hook(_Standard(first, values))
    raw = train(subject, batches, factor=1.0, steps=steps)
    return raw, train(other, batches, factor=1.0, steps=steps), steps


def drift(subject: Subject) -> Iterator[Finding]:
    """D02: reading an item of a data set changes what it stores."""
    for split, dataset in subject.cache.get("datasets", {}).items():
        if not hasattr(dataset, "__getitem__") or isinstance(dataset, torch.utils.data.TensorDataset):
            continue
        if not is_small(dataset, MOST_DATA):
            raise NotCheckedError(f"the data set of {split} is too large to be copied")
        told = _drifts(dataset)
        if told is not None:
            yield finding(
                "D02",
                place=_reader(dataset),
                where=None if _reader(dataset) is not None else f"the data set of {split}",
                evidence=told,
                cure="Work on a new tensor: x = x - mean, not x -= mean; or x = self.images[index].clone() first.",
                title="A data set changes what it stores each time it is read",
            )
            return


def _drifts(dataset: Any) -> str | None:
    """What came of reading one item three times from a copy; None where the stored values stayed."""
    try:
        own = copy.deepcopy(dataset)
        stored = _stored(own)
        before = {name: (value, _copied(value)) for name, value in stored.items()}
        means = []
        for _ in range(3):
            random.seed(0)
            np.random.seed(0)
            torch.manual_seed(0)
            item = own[0]
            first = item[0] if isinstance(item, (tuple, list)) else item
            means.append(float(torch.as_tensor(first).double().mean()))
    except Exception:
        return None
    changed = [name for name, (value, old) in before.items() if not _equal(value, old)]
    if not changed or not np.isfinite(means[0]) or (means[0] == means[1] == means[2]):
        return None
    return (
        f"Item 0 read three times has mean {means[0]:.3g}, {means[1]:.3g} and {means[2]:.3g}: reading writes to "
        f"`{changed[0]}`."
    )


def _stored(dataset: Any) -> dict[str, Any]:
    held = getattr(dataset, "__dict__", {})
    arrays = {name: value for name, value in held.items() if isinstance(value, (Tensor, np.ndarray))}
    return {name: value for name, value in arrays.items() if value.ndim and _numbers(value) < MOST_STORED}


def _numbers(value: Any) -> int:
    return int(value.numel() if isinstance(value, Tensor) else value.size)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value.copy()


def _equal(one: Any, other: Any) -> bool:
    first, second = np.asarray(one), np.asarray(other)
    return bool(np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))


def _reader(dataset: Any) -> Place | None:
    return class_place(type(dataset), "__getitem__")


CHECKS: tuple[Check, ...] = (
    Check("whether reading data changes them", ("D02",), drift, 1.0),
    Check("the scale of the inputs", ("D01", "D02"), scales, 4.0),
)
