"""From the positions of a sequence to one vector, and normalisation over a batch; padding counts in neither."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netwright.blocks.masks import hide


def mean_pool(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the real positions: (B, T, D) and a mask, bool (B, T), to (B, D); zeros for an empty sequence."""
    if mask is None:
        return x.mean(1)
    return hide(x, mask).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def max_pool(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Maximum over the real positions: (B, T, D) and a mask, bool (B, T), to (B, D); zeros for an empty sequence."""
    if mask is None:
        return x.amax(1)
    lowest = x.masked_fill(~mask[..., None], torch.finfo(x.dtype).min).amax(1)
    return lowest.masked_fill(~mask.any(1, keepdim=True), 0.0)


class AttentionPool(nn.Module):
    """A mean of the positions, weighted by how well each fits what was learned to be looked for.

    Source:
        Lin et al. 2017, arXiv:1703.03130, equation 5.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) and a mask, bool (B, T), to (B, D); zeros for an empty sequence."""
        scores = self.score(x).squeeze(2)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return (scores.softmax(1)[..., None] * hide(x, mask)).sum(1)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation of features over the real positions of all sequences.

    As ``nn.BatchNorm1d`` on the real positions alone, laid end to end.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) and a mask, bool (B, T), to (B, T, D), zero at padding.

        Raises:
            ValueError: There is only one real position to train on.
        """
        x = hide(x, mask)
        real = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device) if mask is None else mask.to(x.dtype)
        if self.training:
            mean, var = self._statistics(x, real)
        else:
            mean, var = self.running_mean, self.running_var
        scaled = (x - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias
        return hide(scaled, mask)

    def _statistics(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        count = real.sum()
        if not torch.compiler.is_compiling() and count < 2:
            raise ValueError("batch normalisation needs at least 2 real positions to train on")
        mean = torch.einsum("btd,bt->d", x, real) / count
        var = torch.einsum("btd,bt->d", (x - mean).square(), real) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        return mean, var
