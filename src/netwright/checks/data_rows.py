"""What checks of data share: rows as numbers, labels, how rich rows are, and what reaches the first layer of weights.

``N`` samples, ``F`` features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.checks.facts import Samples
from netwright.checks.subject import NotCheckedError, Subject, hooked

NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
    nn.InstanceNorm3d, nn.SyncBatchNorm, nn.RMSNorm,
)  # fmt: skip
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WEIGHTS = (nn.Linear, *CONVS, nn.RNN, nn.LSTM, nn.GRU)
MOST_FEATURES = 20_000
TABLE_COLUMNS = 400  # more numbers in a row are a picture, a spectrum or a sound
MEASURED_BITS = 64.0
LOOKED_AT = 256  # samples that are sent through for what reaches the first layer


def named_inputs(subject: Subject, samples: Samples) -> dict[str, NDArray[Any]]:
    """The inputs that the module takes and that are data: no lengths and no mask."""
    others = {subject.lengths, subject.mask, "lengths", "mask"}
    kept = {name: value for name, value in samples.inputs.items() if name not in others and value.dtype != bool}
    taken = {name: value for name, value in kept.items() if name in subject.pool}
    return taken or kept


def matrix(subject: Subject, samples: Samples) -> NDArray[np.float64]:
    """All real inputs, (N, F).

    Raises:
        NotCheckedError: There are none, or too many.
    """
    arrays = [value for value in named_inputs(subject, samples).values() if value.dtype.kind in "fu" and value.size]
    if not arrays:
        raise NotCheckedError("the inputs are no real numbers")
    rows = np.concatenate([one.reshape(len(one), -1) for one in arrays], axis=1)
    if rows.shape[1] > MOST_FEATURES:
        raise NotCheckedError(f"samples of {rows.shape[1]:,} numbers are too large")
    found: NDArray[np.float64] = rows.astype(np.float64)
    return found


def table_of(subject: Subject, samples: Samples) -> tuple[str, NDArray[np.float64]] | None:
    """Name and values of the input that is a table with columns of their own, (N, F); None where there is none."""
    for name, value in named_inputs(subject, samples).items():
        real = value.dtype.kind == "f" and value.ndim == 2 and name != subject.tokens
        if real and 1 <= value.shape[1] <= TABLE_COLUMNS:
            table: NDArray[np.float64] = value.astype(np.float64)
            return name, table
    return None


def column_names(subject: Subject, count: int) -> list[str]:
    """What to call each column, from 0."""
    spec = subject.cache.get("spec")
    own = getattr(spec, "columns", None) if spec is not None else None
    if isinstance(own, (list, tuple)) and len(own) == count:
        return [f"column {at} ({name})" for at, name in enumerate(own)]
    return [f"column {at}" for at in range(count)]


def classes_in(subject: Subject, samples: Samples) -> NDArray[np.int64] | None:
    """Labels, one a sample; None where targets are something else."""
    values = samples.targets
    if values is None or len(values) != len(samples):
        return None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or subject.task not in ("classification", None):
        return None
    if values.dtype.kind == "f":
        if not np.isin(values, (0.0, 1.0)).all() or subject.task is None:
            return None
    elif values.dtype.kind not in "iub" or (subject.task is None and len(np.unique(values)) > 100):
        return None
    found: NDArray[np.int64] = values.astype(np.int64)
    return found


def bits(rows: NDArray[Any]) -> NDArray[np.float64]:
    """How much each row says, in bits and rather too little, (N,): columns may depend on each other.

    A value of a column whose values nearly all differ, but for a few as what stands for a missing one, is a
    measurement, and two equal ones are no chance; of other values a third of their surprise is counted, since columns
    may say the same.
    """
    flat, place = np.unique(rows.reshape(len(rows), -1), axis=0, return_inverse=True)
    count, total = len(flat), np.zeros(len(flat))
    if count < 8:
        return np.zeros(len(rows))
    for column in flat.T[:2_000]:
        _, at, each = np.unique(column, return_inverse=True, return_counts=True)
        often = each[at]
        rare = often <= max(2, count // 100)
        measured = bool(rare.any()) and len(np.unique(column[rare])) > 0.9 * rare.sum()
        total += np.where(rare & measured, MEASURED_BITS, np.log2(count / often) / 3)
    found: NDArray[np.float64] = total[place.reshape(-1)]
    return found


def spread(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with each column at mean 0 and, where it varies, standard deviation 1; of pictures one scale for all."""
    centred = rows - rows.mean(0)
    own = centred.std(0)
    together = np.full(rows.shape[1], max(float(centred.std()), 1e-12))
    scale = np.where(own > 0, own, 1.0) if rows.shape[1] <= 48 else together
    found: NDArray[np.float64] = centred / scale
    return found


@dataclass(frozen=True, slots=True)
class First:
    """The first layer with weights, and what reaches it.

    Attributes:
        inputs: Its first argument for samples of the pool.
        axis: Of the features.
        output: Of the whole module for the same samples; None where it is no tensor.
    """

    name: str
    layer: nn.Module
    inputs: Tensor
    axis: int
    output: Tensor | None

    def features(self) -> NDArray[np.float64]:
        """By feature its values, (…, F)."""
        found: NDArray[np.float64] = self.inputs.movedim(self.axis, -1).double().numpy()
        return found.reshape(-1, found.shape[-1])


def first_of(subject: Subject) -> First:
    """The first layer with weights that is called.

    Raises:
        NotCheckedError: There is none that takes a tensor.
    """
    if "first_layer" not in subject.cache:
        try:
            subject.cache["first_layer"] = _first(subject)
        except NotCheckedError as reason:
            subject.cache["first_layer"] = reason
    found = subject.cache["first_layer"]
    if isinstance(found, NotCheckedError):
        raise NotCheckedError(str(found))
    assert_first: First = found
    return assert_first


def _first(subject: Subject) -> First:
    model = subject.fresh()
    seen: list[tuple[str, nn.Module, Tensor]] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            if not seen and args and isinstance(args[0], Tensor):
                seen.append((name, module, args[0].detach().clone()))

        return hook

    own = [(name, one) for name, one in model.named_modules() if next(one.parameters(recurse=False), None) is not None]
    handles = [one.register_forward_pre_hook(look(name)) for name, one in own]
    with hooked(handles):
        inputs, _ = subject.rows(min(LOOKED_AT, subject.pool_size))
        try:
            output: Tensor | None = subject.answer(model, inputs)
        except NotCheckedError:
            output = None
    if not seen:
        raise NotCheckedError("no layer with weights takes a tensor")
    name, layer, given = seen[0]
    axis = 1 if isinstance(layer, CONVS) and given.ndim > 2 else given.ndim - 1
    return First(name, layer, given.cpu(), axis, output)


def data_of(subject: Subject, split: str = "train") -> Samples:
    """Samples of a split.

    Raises:
        NotCheckedError: There are none.
    """
    samples = subject.splits.get(split)
    if samples is None or len(samples) < 2:
        raise NotCheckedError(f"no samples of {split} are known")
    return samples


def share(part: int, whole: int) -> str:
    """A count and its share."""
    return f"{part:,} of {whole:,} ({part / max(1, whole):.1%})"


def pool_tensor(subject: Subject) -> Tensor | None:
    """The largest real input of the pool."""
    real = [value for value in subject.pool.values() if torch.is_floating_point(value)]
    return max(real, key=lambda one: one[0].numel(), default=None)
