"""Samples of different lengths as arrays: laid end to end, and padded to the longest of a batch. No torch here.

``B`` samples, ``T`` positions of the longest, ``M`` positions in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def padded_arrays(fields: Mapping[str, Ragged], indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """A batch of ragged fields.

    Returns:
        Each field (B, T, ...), whole numbers as int64, zero at padding; ``lengths`` int64 (B,) and ``mask`` bool
        (B, T), True where real. Of several fields these are called after their field, as ``first_lengths``; those of
        ``tokens`` never are, and what goes along with them has none of its own.
    """
    batch: dict[str, NDArray[Any]] = {}
    for name, field in fields.items():
        values, lengths = field.padded(indices)
        batch[name] = values.astype(np.int64) if values.dtype.kind in "iu" else values
        if ALONG.get(name) in fields:
            continue
        prefix = "" if len(fields) == 1 or name == "tokens" else f"{name}_"
        batch[f"{prefix}lengths"] = lengths.astype(np.int64)
        batch[f"{prefix}mask"] = np.arange(values.shape[1])[None] < lengths[:, None]
    return batch


def alike(samples: Sequence[Mapping[str, NDArray[Any]]]) -> list[list[int]]:
    """Which samples are of one shape, field by field, so that together they are a batch without padding.

    Returns:
        Indices, each once.
    """
    groups: dict[Any, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(tuple((name, value.shape) for name, value in sorted(sample.items())), []).append(index)
    return list(groups.values())


def collate_arrays(samples: Sequence[Mapping[str, NDArray[Any]]], varying: frozenset[str]) -> dict[str, NDArray[Any]]:
    """Single samples as a batch, padded as in training.

    Args:
        samples: Arrays by field, without a batch dimension; at least one sample.
        varying: Names of the fields whose first size is not the same for all samples.

    Returns:
        Arrays by field, (B, ...), with lengths and masks of those that vary.
    """
    names = list(samples[0])
    ragged = {
        name: Ragged.of([sample[name] for sample in samples], samples[0][name].dtype)
        for name in names
        if name in varying
    }
    batch = {name: np.stack([sample[name] for sample in samples]) for name in names if name not in varying}
    return batch | padded_arrays(ragged, np.arange(len(samples)))
