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
from netwright.metrics import IGNORE_INDEX

# Batches whose samples are sorted by length together: more save padding, fewer keep the order random.
POOL = 50
# Fields with the positions of another one, in whose lengths and mask theirs stand.
ALONG = {"characters": "tokens", "shapes": "tokens", "segments": "tokens"}


@dataclass(frozen=True, slots=True)
class Ragged:
    """One field of samples of different lengths.

    Attributes:
        values: All samples' values end to end, (M, ...): tokens int32, sound float32, tags int64.
        starts: Where each sample begins, and the end, int64 (N + 1,).
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Sequence[NDArray[Any]], dtype: Any) -> Ragged:
        """Sequences laid end to end; ``dtype`` is anything NumPy takes for one."""
        starts = np.concatenate(([0], np.cumsum([len(one) for one in sequences]))).astype(np.int64)
        rest = next((one.shape[1:] for one in sequences), ())
        return cls(np.concatenate([np.zeros((0, *rest), dtype=dtype), *sequences]).astype(dtype), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        """The values of one sample, (T, ...)."""
        return self.values[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions of each sample, int64 (N,)."""
        return np.diff(self.starts)

    def take(self, indices: NDArray[np.int64]) -> Ragged:
        """Some of the samples."""
        return Ragged.of([self[int(index)] for index in indices], self.values.dtype)

    def padded(self, indices: NDArray[np.int64], fill: int = 0) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Values (B, T, ...) of the samples at ``indices``, with ``fill`` at padding, and lengths (B,).

        T is at least 1, since most layers refuse nothing.
        """
        starts = self.starts[indices]
        lengths = self.starts[indices + 1] - starts
        steps = np.arange(max(1, int(lengths.max(initial=0))))
        mask = steps[None] < lengths[:, None]
        if not len(self.values):
            return np.full((*mask.shape, *self.values.shape[1:]), fill, dtype=self.values.dtype), lengths
        values = self.values[np.where(mask, starts[:, None] + steps[None], 0)]
        values[~mask] = fill
        return values, lengths


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
    """A batch of ragged fields.

    Returns:
        Each field (B, T, ...), whole numbers as int64, zero at padding; ``lengths`` int64 (B,) and ``mask`` bool
        (B, T), True where real. Of several fields these are called after their field, as ``first_lengths``; those of
        ``tokens`` never are, and what goes along with them has none of its own.
    """
    batch: dict[str, Tensor] = {}
    for name, field in fields.items():
        values, lengths = field.padded(indices)
        batch[name] = torch.from_numpy(values.astype(np.int64) if values.dtype.kind in "iu" else values)
        if ALONG.get(name) in fields:
            continue
        prefix = "" if len(fields) == 1 or name == "tokens" else f"{name}_"
        batch[f"{prefix}lengths"] = torch.from_numpy(lengths.astype(np.int64))
        batch[f"{prefix}mask"] = torch.from_numpy(np.arange(values.shape[1])[None] < lengths[:, None])
    return batch


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
