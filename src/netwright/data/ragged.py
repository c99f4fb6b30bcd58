"""Samples of different lengths: tokens laid end to end, and batches of them padded to their longest.

``B`` samples, ``T`` positions of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.order import permutation

# Batches whose samples are sorted by length together: more save padding, fewer keep the order random.
POOL = 50


@dataclass(frozen=True, slots=True)
class RaggedSource:
    """Token sequences in memory.

    Attributes:
        tokens: All samples' tokens, int32 (sum of lengths,).
        starts: Where each sample begins, and the end, int64 (N + 1,).
        texts: The samples as they were written.
    """

    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    all_targets: Tensor
    texts: Sequence[str]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """Padded tokens (B, T), lengths (B,), the mask (B, T), and targets."""
        starts = self.starts[indices]
        inputs = padded(self.tokens, starts, self.starts[indices + 1] - starts)
        return inputs, self.all_targets.index_select(0, torch.from_numpy(indices))

    def name(self, index: int) -> str:
        """Its file and row."""
        return self.names[index]

    @property
    def targets(self) -> NDArray[np.generic]:
        """All targets."""
        return self.all_targets.numpy()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sample, int64 (N,)."""
        return np.diff(self.starts)


def ragged(
    sequences: Sequence[NDArray[np.int32]], targets: NDArray[np.generic], texts: Sequence[str], names: Sequence[str]
) -> RaggedSource:
    """A source of sequences."""
    flat, starts = laid_out(sequences)
    return RaggedSource(flat, starts, torch.from_numpy(targets), texts, names)


def laid_out(sequences: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Sequences end to end, and where each begins."""
    starts = np.concatenate(([0], np.cumsum([len(one) for one in sequences]))).astype(np.int64)
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *sequences]).astype(np.int32)
    return flat, starts


def padded(tokens: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> dict[str, Tensor]:
    """A batch of sequences out of ``tokens``.

    Returns:
        ``tokens`` int64 (B, T), zero at padding; ``lengths`` int64 (B,); ``mask`` bool (B, T), True where real. T is at
        least 1, since most layers refuse nothing.
    """
    steps = np.arange(max(1, int(lengths.max(initial=0))))
    mask = steps[None] < lengths[:, None]
    places = np.where(mask, starts[:, None] + steps[None], 0)
    values = tokens[places] if len(tokens) else np.zeros(places.shape, dtype=np.int32)
    return {
        "tokens": torch.from_numpy(np.where(mask, values, 0).astype(np.int64)),
        "lengths": torch.from_numpy(lengths.astype(np.int64)),
        "mask": torch.from_numpy(mask),
    }


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
