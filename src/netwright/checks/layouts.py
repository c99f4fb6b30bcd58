"""Are the rows of the inputs samples? Known of data that netwright batches; of a script it is to be found out."""

from __future__ import annotations

import torch

from netwright.checks.probes import REAL, Probe, gap
from netwright.checks.subject import Inputs, NotCheckedError, Subject


def rows_are_samples(subject: Subject, probe: Probe) -> bool:
    """Whether rows count the samples, so that they may not influence each other.

    Raises:
        NotCheckedError: The second axis counts them, or may do so.
    """
    known = subject.cache.get("rows_are_samples", True if "spec" in subject.cache else None)
    if known is not None:
        if not known:
            raise NotCheckedError("the first axis of its inputs does not count the samples")
        return True
    if relates_rows(subject, probe):
        raise NotCheckedError("an input has a row and a column for each row of another: rows are parts of one graph")
    if _columns_are_apart(probe) and not _answer_counts_rows(subject, probe):
        raise NotCheckedError(
            "the second axis of its inputs may count the samples: columns do not influence each other"
        )
    return True


def relates_rows(subject: Subject, probe: Probe) -> bool:
    """Whether an input is a table of rows against rows, as the adjacency of a graph."""
    rows = {probe.rows, subject.cache.get("rows")}
    return any(
        value.ndim == 2 and value.shape[1] in rows and value.shape[1] > 2 for value in probe.inputs.values()
    ) and any(value.ndim == 2 and value.shape[1] not in rows for value in probe.inputs.values())


def _answer_counts_rows(subject: Subject, probe: Probe) -> bool:
    """The answer has a row for each row of the inputs, and so have the targets, and no axis for the columns."""
    columns = {value.shape[1] for value in probe.inputs.values() if value.ndim > 1}
    whole = probe.axis == 0 and probe.answer.shape[0] == probe.rows
    targets = subject.pool_targets
    counted = isinstance(targets, torch.Tensor) and len(targets) == subject.pool_size
    return whole and counted and not columns & set(probe.answer.shape[1:2])


def _columns_are_apart(probe: Probe) -> bool:
    """Whether each entry of the second axis is answered by itself: then that may be the batch."""
    sizes = {value.shape[1] for value in probe.inputs.values() if value.ndim > 1}
    if len(sizes) != 1 or (size := sizes.pop()) < 2:
        return False
    axes = [axis for axis in (1, 0) if axis < probe.answer.ndim and probe.answer.shape[axis] == size]
    end_to_end = probe.answer.shape[0] == probe.rows * size
    if not axes and not end_to_end:
        return False
    odd = torch.arange(size) % 2 == 1
    changed: Inputs = {
        name: torch.where(odd.reshape(1, -1, *[1] * (value.ndim - 2)), value.roll(1, 1), value)
        if value.ndim > 1
        else value
        for name, value in probe.inputs.items()
    }
    try:
        after = probe.run(changed)
    except NotCheckedError:
        return False
    if after.shape != probe.answer.shape:
        return False
    before = probe.answer
    if end_to_end:
        before, after = (one.reshape(probe.rows, size, -1) for one in (before, after))
        axes = [1]
    before, after = before.movedim(axes[0], 0), after.movedim(axes[0], 0)
    return gap(before[~odd], after[~odd]) <= REAL * probe.spread
