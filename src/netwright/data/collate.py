"""Single stored samples as a batch: what serving does with what ``preprocess.sample`` gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.ragged import Ragged, padded_fields
from netwright.records import FieldSpec


def collate(samples: Sequence[dict[str, NDArray[Any]]], fields: Sequence[FieldSpec]) -> dict[str, Tensor]:
    """Make a batch, padded as in training.

    Args:
        samples: Arrays by field, without a batch dimension; at least one sample.
        fields: Of the data; those whose first size is -1 vary in length.

    Returns:
        Tensors by field, (B, ...), with lengths and masks of those that vary.
    """
    varies = {field.name for field in fields if field.shape[:1] == (-1,)}
    names = list(samples[0])
    ragged = {
        name: Ragged.of([sample[name] for sample in samples], samples[0][name].dtype)
        for name in names
        if name in varies
    }
    batch = {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in names if name not in varies
    }
    return batch | padded_fields(ragged, np.arange(len(samples)))
