"""Lengths and masks of padded sequences. A mask is bool (B, T), True where a position is real.

Knows nothing of data, tasks or training, as all of ``blocks``: plain modules and functions of tensors.
``B`` samples, ``T`` positions, ``D`` features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mask_of(lengths: Tensor, size: int) -> Tensor:
    """The mask of sequences that are padded at their end.

    Args:
        lengths: Real positions of each, int64 (B,), each in [0, size].
        size: Positions with padding, T.

    Returns:
        bool (B, T).
    """
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def hide(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zeros at the padding: (B, T, D) and a mask, or None where nothing is padded."""
    return x if mask is None else x.masked_fill(~mask[..., None], 0.0)


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence backwards, its padding left at its end.

    Args:
        x: (B, T, D).
        lengths: int64 (B,). None: all are T long.
    """
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)[None]
    backwards = lengths[:, None] - 1 - steps
    index = torch.where(backwards >= 0, backwards, steps)
    return x.gather(1, index[..., None].expand_as(x))
