"""Single stored samples as a batch: what serving does with what ``preprocess.sample`` gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.padding import collate_arrays
from netwright.records import FieldSpec


def collate(samples: Sequence[dict[str, NDArray[Any]]], fields: Sequence[FieldSpec]) -> dict[str, Tensor]:
    """Make a batch, padded as in training.

    Args:
        samples: Arrays by field, without a batch dimension; at least one sample.
        fields: Of the data; those whose first size is -1 vary in length.

    Returns:
        Tensors by field, (B, ...), with lengths and masks of those that vary.
    """
    varying = frozenset(field.name for field in fields if field.shape[:1] == (-1,))
    return {name: torch.from_numpy(value) for name, value in collate_arrays(samples, varying).items()}
