"""Torch's own data sets of tensors, whose samples are rows: they are gathered, not read item by item."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Subset, TensorDataset


def tensor_rows(dataset: Any, indices: NDArray[np.int64]) -> tuple[Tensor, ...] | None:
    """What the items at ``indices`` of a ``TensorDataset``, or of a ``Subset`` of one, are when stacked.

    Returns:
        None for everything else, a subclass included: its ``__getitem__`` may do more. Also where NumPy could not
        share the memory, as on another device.
    """
    where = indices
    while type(dataset) is Subset:
        where = np.asarray(dataset.indices, dtype=np.int64)[where]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset or len(dataset.tensors) < 2:
        return None
    if any(one.device.type != "cpu" or one.requires_grad or one.dtype == torch.bfloat16 for one in dataset.tensors):
        return None
    rows = torch.from_numpy(where)
    return tuple(one.index_select(0, rows) for one in dataset.tensors)
