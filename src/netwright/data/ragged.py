"""Samples of different lengths: fields laid end to end, and batches of them padded to their longest.

``B`` samples, ``T`` positions of the longest, ``M`` positions in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.order import permutation
from netwright.data.padding import Ragged, padded_arrays
from netwright.metrics import IGNORE_INDEX

__all__ = ["POOL", "Ragged", "RaggedSource", "by_length", "padded_fields"]

# Batches whose samples are sorted by length together: more save padding, fewer keep the order random.
POOL = 50


@dataclass(frozen=True, slots=True)
class RaggedSource:
    """Sequences in memory.

    Attributes:
        fields: By name; all of as many samples.
        all_targets: One a sample, (N, ...), or one a position.
        names: What to call each sample.
        texts: The samples as they were written; None where they are no texts.
        seconds: The second texts, where samples are pairs of them.
        words: What each position is, where that is what is answered; None where it is not.
    """

    fields: Mapping[str, Ragged]
    all_targets: Tensor | Ragged
    names: Sequence[str]
    texts: Sequence[str] | None = None
    seconds: Sequence[str] | None = None
    words: Sequence[Sequence[str]] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """Padded fields with their lengths and masks, and targets; those of positions are ignored at padding."""
        inputs = padded_fields(self.fields, indices)
        if isinstance(self.all_targets, Ragged):
            return inputs, torch.from_numpy(self.all_targets.padded(indices, IGNORE_INDEX)[0])
        return inputs, self.all_targets.index_select(0, torch.from_numpy(indices))

    def name(self, index: int) -> str:
        """Its file and row."""
        return self.names[index]

    @property
    def targets(self) -> NDArray[Any]:
        """All targets, (N, ...), or those of all positions, (M,)."""
        return self.all_targets.values if isinstance(self.all_targets, Ragged) else self.all_targets.numpy()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions of each sample over all its fields, int64 (N,)."""
        return np.asarray(sum(field.lengths for field in self.fields.values()))


def padded_fields(fields: Mapping[str, Ragged], indices: NDArray[np.int64]) -> dict[str, Tensor]:
    """A batch of ragged fields as tensors; see ``padded_arrays``."""
    return {name: torch.from_numpy(value) for name, value in padded_arrays(fields, indices).items()}


def by_length(
    lengths: NDArray[np.int64], order: NDArray[np.int64], batch_size: int, *, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Cut an order into batches of similar length.

    So many samples as make ``POOL`` batches are sorted by length and cut; then the batches are shuffled. From (seed,
    epoch) alone, as the order is.
    """
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    shuffled = permutation(len(batches), seed=seed, epoch=epoch)
    return [batches[index] for index in shuffled]
