"""Rows that lie on a GPU whole, ready for the module, so that a batch is taken there and nothing is copied to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.batch import Batch
from netwright.data.chunks import Gathered, target_tensors
from netwright.data.sources import Source, Targets

SHARE = 0.25  # of the GPU's free memory that samples may take

# The last source that was put on a device, with its samples there; another one takes its place.
_HELD: list[tuple[Source, torch.device, dict[str, Tensor], Targets]] = []


def lies_on(source: Source, gather: Callable[[NDArray[np.int64]], Gathered], device: torch.device) -> bool:
    """Whether all samples are on a device, where they are put if there is room."""
    if _HELD and _HELD[0][0] is source and _HELD[0][1] == device:
        return True
    if device.type != "cuda" or len(source) == 0:
        return False
    _HELD.clear()
    inputs, targets = gather(np.zeros(1, dtype=np.int64))
    row = sum(one.nbytes for one in (*inputs.values(), *target_tensors(targets)))
    if row * len(source) > SHARE * torch.cuda.mem_get_info(device)[0]:
        return False
    inputs, targets = gather(np.arange(len(source), dtype=np.int64))
    moved = {name: value.to(device) for name, value in inputs.items()}
    _HELD.append((source, device, moved, _each(targets, lambda value: value.to(device))))
    return True


def resident_batches(parts: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
    """A batch for each of ``parts``, of the samples that ``lies_on`` said to lie there."""
    if not parts:
        return
    _, device, inputs, targets = _HELD[0]
    order, begin = torch.from_numpy(np.concatenate(parts)), 0
    there = order.to(device)
    for part in parts:
        end = begin + len(part)
        where = there[begin:end]
        fields = {name: value.index_select(0, where) for name, value in inputs.items()}
        yield Batch(fields, _each(targets, lambda value: value.index_select(0, where)), order[begin:end])  # noqa: B023
        begin = end


def _each(targets: Targets, change: Callable[[Tensor], Tensor]) -> Targets:
    if isinstance(targets, dict):
        return {name: change(value) for name, value in targets.items()}
    return change(targets)
