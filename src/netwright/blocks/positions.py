"""Where a position is: sinusoids added to features, or rotations of queries and keys. Both work at any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sinusoids(length: int, features: int, *, device: torch.device | None = None) -> Tensor:
    """Sines in the even columns and cosines in the odd ones, float32 (length, features).

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    rates = 10_000.0 ** (-torch.arange(0, features, 2, device=device) / features)
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :features]


class SinusoidalPositions(nn.Module):
    """Add ``sinusoids`` to (B, T, D); nothing is learned."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        return x + sinusoids(x.shape[1], x.shape[2], device=x.device).to(x.dtype)


def rotate(x: Tensor) -> Tensor:
    """Turn pairs of features by angles that grow with the position, so that products depend on distances alone.

    Args:
        x: Queries or keys, (B, H, T, d), d even.

    Source:
        Su et al. 2021, arXiv:2104.09864, equation 34.
    """
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
