"""What was decided against what was wanted: accuracy and the confusion matrix of anything array-like.

``N`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netwright.errors import DataError, UsageError

IGNORE_INDEX = -100  # torch.nn.CrossEntropyLoss leaves such targets out; so do we

Ints = NDArray[np.int64]


def accuracy(outputs: Any, targets: Any) -> float:
    """Share of right answers, in [0, 1].

    Args:
        outputs: Decided classes, whole numbers (N,), or a number for each class – logits or probabilities, real
            (N, C, ...) with C ≥ 2, of which the largest is taken, at equal ones the first. One real number a sample
            is refused: whether it is cut at 0 or at 0.5 only the caller knows.
        targets: Classes as whole numbers (N, ...); those equal to -100 are left out.

    Raises:
        UsageError: Shapes differ, nothing is left to count, or the outputs do not say which class they mean.
        DataError: Outputs are NaN, or a target is no class.
    """
    preds, wanted = decide(outputs, targets)
    return float(np.mean(preds == wanted))


def confusion_matrix(preds: Any, targets: Any, num_classes: int | None = None) -> Ints:
    """Count how often each class was taken for each.

    Args:
        preds: As the outputs of ``accuracy``.
        targets: Classes as whole numbers; those equal to -100 are left out.
        num_classes: C. None: the largest class met, plus one, and no fewer than ``preds`` has columns.

    Returns:
        int64 (C, C); row is the true class, column the predicted one.

    Raises:
        UsageError: As ``accuracy``, or a class does not fit in ``num_classes``.
        DataError: As ``accuracy``.
    """
    decided, wanted = decide(preds, targets)
    largest = int(max(decided.max(), wanted.max())) + 1
    if num_classes is None:
        outputs = to_array(preds)
        columns = outputs.shape[1] if outputs.dtype.kind == "f" else 0
        num_classes = max(largest, columns)
    if largest > num_classes or min(decided.min(), wanted.min()) < 0:
        raise UsageError(
            where="`preds` and `targets`",
            expected=f"classes from 0 to {num_classes - 1}",
            got=f"{min(decided.min(), wanted.min())} to {largest - 1}",
            cure="Give `num_classes` as large as the largest class plus one.",
        )
    return np.bincount(wanted * num_classes + decided, minlength=num_classes**2).reshape(num_classes, num_classes)


def decide(outputs: Any, targets: Any) -> tuple[Ints, Ints]:
    """Predicted and true classes, both int64 (N,), without the targets that are to be ignored.

    Raises:
        UsageError: See ``accuracy``.
        DataError: See ``accuracy``.
    """
    given, wanted = to_array(outputs), _classes(to_array(targets), "`targets`")
    if not wanted.size:
        raise _nothing()
    preds = _decided(given, wanted)
    if preds.size != wanted.size or len(preds) != len(wanted):
        raise UsageError(
            where="`outputs` and `targets`",
            expected=f"one answer for each target: shape {wanted.shape} or ({len(wanted)}, C)",
            got=f"shape {given.shape}",
            cure="Give outputs and targets of the same samples, samples first.",
        )
    preds, wanted = preds.ravel(), wanted.ravel()
    kept = wanted != IGNORE_INDEX
    if not kept.all():
        preds, wanted = preds[kept], wanted[kept]
    if not len(wanted):
        raise UsageError(
            where="`targets`", expected="at least one sample", got="none", cure="Check how they were selected."
        )
    if wanted.min() < 0:
        raise DataError(
            where="`targets`",
            expected=f"classes from 0, or {IGNORE_INDEX} to leave a sample out",
            got=str(wanted.min()),
            cure="Number the classes from 0.",
        )
    return preds, wanted


def _nothing() -> UsageError:
    return UsageError(
        where="`targets`", expected="at least one sample", got="none", cure="Check how they were selected."
    )


def to_array(values: ArrayLike | Any) -> NDArray[Any]:
    """Values as a NumPy array on the CPU; reading a tensor from a device waits for it."""
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    if torch is not None and isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        # NumPy has no bfloat16.
        return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    if torch is not None and isinstance(values, list | tuple) and values and isinstance(values[0], torch.Tensor):
        return np.stack([to_array(value) for value in values])
    array = np.asarray(values)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise UsageError(
            where="outputs or targets",
            expected="an array, tensor or list of numbers, one or more for each sample",
            got=f"{type(values).__name__} of dtype {array.dtype} and shape {array.shape}",
            cure="Give whole numbers for classes: names.index(name) makes one of a name.",
        )
    return array


def _decided(given: NDArray[Any], wanted: NDArray[Any]) -> Ints:
    if given.dtype.kind != "f":
        return _classes(given, "`outputs`")
    if np.isnan(given).any():
        bad = np.isnan(given).reshape(len(given), -1).any(1)
        raise DataError(
            where="`outputs`",
            expected="numbers",
            got=f"NaN in {bad.sum()} of {len(bad)} samples, first in sample {np.flatnonzero(bad)[0]}",
            cure="Find where the model makes them; no class can be read from NaN.",
        )
    if given.ndim == 1 or given.shape[1] == 1:
        raise UsageError(
            where="`outputs`",
            expected="decided classes (whole numbers), or one column for each class",
            got=f"one real number a sample: shape {given.shape}",
            cure="Decide first: `outputs > 0` for logits, `outputs > 0.5` for probabilities.",
        )
    if given.ndim != wanted.ndim + 1 and not (given.ndim == 2 and wanted.ndim == 2 and wanted.shape[1] == 1):
        raise UsageError(
            where="`targets`",
            expected=f"one class a sample: shape {(len(given), *given.shape[2:])}",
            got=f"shape {wanted.shape}",
            cure="Make classes of one-hot rows: `targets.argmax(1)`.",
        )
    return np.asarray(given.argmax(1), dtype=np.int64)


def _classes(values: NDArray[Any], where: str) -> Ints:
    """Whole numbers as int64; a column (N, 1) as (N,)."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind == "f" and not np.array_equal(values, np.floor(values)):
        raise UsageError(
            where=where,
            expected="classes as whole numbers",
            got=f"real numbers, as {values.ravel()[np.flatnonzero(values.ravel() != np.floor(values.ravel()))[0]]:g}",
            cure="Accuracy is for classes; for real targets look at the mean absolute error.",
        )
    return np.asarray(values, dtype=np.int64)
