"""Batches of rows that lie in memory, gathered many at a time.

Eight small tensor operations a batch cost more than the bytes of 64 rows of a table: here they are done once for as
many batches as fit into the processor's cache. The batches are those that gathering each by itself gives, bit for bit.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Sequence
from typing import ParamSpec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.batch import Batch, Strip
from netwright.data.series import SeriesSource
from netwright.data.sources import DatasetSource, Source, Targets, TensorSource
from netwright.data.streams import StreamSource
from netwright.data.tables import TableSource
from netwright.data.tensor_rows import tensor_rows

# Gathered at once: half of a usual second-level cache. Four times as much was no faster for 64 rows of 20 numbers.
CHUNK_BYTES = 1 << 18
# Where torch begins a tensor of its own. Kernels may sum in another order elsewhere, so batches inside a chunk begin
# at such places too.
ALIGNED_BYTES = 64

Asked = ParamSpec("Asked")
Gathered = tuple[dict[str, Tensor], Targets]


def gathers_rows(source: Source) -> bool:
    """Whether a sample is a row that no other one changes, and gathering it reads memory alone."""
    if isinstance(source, TableSource):
        return all(one.pixels is not None for one in source.pictures)
    if isinstance(source, DatasetSource):
        return tensor_rows(source.dataset, np.zeros(0, dtype=np.int64)) is not None
    return isinstance(source, TensorSource | SeriesSource | StreamSource)


def singly(found: Generator[Strip | Batch, None, None]) -> Generator[Batch, None, None]:
    """The batches of strips, and those between them."""
    with contextlib.closing(found):
        for one in found:
            if isinstance(one, Strip):
                yield from one
            else:
                yield one


def each_by_itself(
    strips: Callable[Asked, Generator[Strip | Batch, None, None]],
) -> Callable[Asked, Generator[Batch, None, None]]:
    """What gives the same batches, each by itself, and is asked in the same way."""

    def batches(*given: Asked.args, **more: Asked.kwargs) -> Generator[Batch, None, None]:
        return singly(strips(*given, **more))

    batches.__doc__ = strips.__doc__
    return batches


def row_strips(
    gather: Callable[[NDArray[np.int64]], Gathered], parts: Sequence[NDArray[np.int64]]
) -> Generator[Strip | Batch, None, None]:
    """A batch for each of ``parts``, which are as long as the first one; the last may be shorter.

    Args:
        gather: Inputs and targets of the samples with these indices, ready for the module; made of each row alone.
    """
    if not parts:
        return
    size = len(parts[0])
    inputs, targets = gather(parts[0])
    yield Batch(inputs, targets, torch.from_numpy(parts[0]))
    step, count = _shape_of_chunk(size, [*inputs.values(), *target_tensors(targets)])
    if count < 2:
        for part in parts[1:]:
            inputs, targets = gather(part)
            yield Batch(inputs, targets, torch.from_numpy(part))
        return
    for start in range(1, len(parts), count):
        some = parts[start : start + count]
        inputs, targets = gather(_joined(some, size, step))
        wanted = _numpy(targets) if isinstance(targets, dict) else targets.numpy()
        yield Strip(_numpy(inputs), wanted, some, step)


row_batches = each_by_itself(row_strips)


def _numpy(tensors: dict[str, Tensor]) -> dict[str, NDArray[np.generic]]:
    return {name: value.numpy() for name, value in tensors.items()}


def _shape_of_chunk(size: int, first: Sequence[Tensor]) -> tuple[int, int]:
    """Rows from the begin of one batch to that of the next, and batches in a chunk."""
    row_bytes = [value.element_size() * math.prod(value.shape[1:]) for value in first]
    whole = math.lcm(*(ALIGNED_BYTES // math.gcd(ALIGNED_BYTES, one) for one in row_bytes))
    step = -(-size // whole) * whole
    return step, CHUNK_BYTES // max(1, step * sum(row_bytes))


def _joined(parts: Sequence[NDArray[np.int64]], size: int, step: int) -> NDArray[np.int64]:
    """Indices of a chunk; those between two batches, which nobody sees, are of the first sample."""
    if step == size:
        return np.concatenate(parts)
    rows = np.zeros((len(parts), step), dtype=np.int64)
    for row, part in zip(rows, parts, strict=True):
        row[: len(part)] = part
    return rows.reshape(-1)


def target_tensors(targets: Targets) -> list[Tensor]:
    """The targets of each answer."""
    return list(targets.values()) if isinstance(targets, dict) else [targets]
