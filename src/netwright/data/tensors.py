"""The torch twin of the tensor operations of ``preprocess``: one product and one sum a batch, and it can be traced."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from netwright.preprocess import Preprocess, affine

Affine = tuple[Tensor | None, Tensor | None]


def apply_to(preprocess: Preprocess, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run the tensor operations on the inputs of a batch."""
    return applying(preprocess)(inputs)


def applying(preprocess: Preprocess) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """What runs the tensor operations on the inputs of many batches: products and sums are worked out once."""
    if not preprocess.tensor and not preprocess.fields:
        return dict
    known: dict[tuple[str, int], Affine] = {}

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        done = {}
        for name, value in inputs.items():
            key = (name, value.ndim)
            if key not in known:
                known[key] = _affine(preprocess.of(name), value.ndim)
            done[name] = _run(known[key], value)
        return done

    return run


def apply(preprocess: Preprocess, batch: Tensor) -> Tensor:
    """Run the tensor operations on a batch (B, C, ...), giving float32; other dtypes stay where there are none."""
    return _run(_affine(preprocess, batch.ndim), batch)


def _affine(preprocess: Preprocess, ndim: int) -> Affine:
    factor, offset = affine(preprocess, ndim)
    return (
        None if factor is None else torch.from_numpy(factor),
        None if offset is None else torch.from_numpy(offset),
    )


def _run(operations: Affine, batch: Tensor) -> Tensor:
    factor, offset = operations
    if factor is None and offset is None:
        return batch
    values = batch.float()
    # A new tensor is changed in place, which takes 0.6 of the time for 512 pictures; what was given never is.
    if factor is not None:
        values = values * factor if values is batch else values.mul_(factor)
    if offset is not None:
        values = values + offset if values is batch else values.add_(offset)
    return values
