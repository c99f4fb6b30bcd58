"""The torch twin of the tensor operations of ``preprocess``: one product and one sum a batch, and it can be traced."""

from __future__ import annotations

import torch
from torch import Tensor

from netwright.preprocess import Preprocess, affine


def apply_to(preprocess: Preprocess, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run the tensor operations on the inputs of a batch."""
    return {name: apply(preprocess.of(name), value) for name, value in inputs.items()}


def apply(preprocess: Preprocess, batch: Tensor) -> Tensor:
    """Run the tensor operations on a batch (B, C, ...), giving float32; other dtypes stay where there are none."""
    factor, offset = affine(preprocess, batch.ndim)
    if factor is None and offset is None:
        return batch
    values = batch.float()
    if factor is not None:
        values = values * torch.from_numpy(factor)
    if offset is not None:
        values = values + torch.from_numpy(offset)
    return values
