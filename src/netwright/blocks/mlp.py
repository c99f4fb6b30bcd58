"""A multi-layer perceptron, and embeddings of categories to feed it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with an activation and dropout between them: (..., sizes[0]) to (..., sizes[-1]).

    Args:
        sizes: At least two.
    """
    if len(sizes) < 2:
        raise ValueError(f"an MLP needs the sizes of its input and its output, got {sizes}")
    layers: list[nn.Module] = []
    for size, following in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(size, following), activation(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class CategoryEmbeddings(nn.Module):
    """One embedding for each column of codes, side by side.

    Args:
        counts: Codes of each column; 0 is for what was not seen in training.
        features: Size of each embedding. None: half the codes, at most 50.

    Source:
        Guo & Berkhahn 2016, arXiv:1604.06737; the rule of thumb for sizes is fastai's first.
    """

    def __init__(self, counts: Sequence[int], features: int | None = None) -> None:
        super().__init__()
        sizes = [features or min(50, (count + 1) // 2) for count in counts]
        self.tables = nn.ModuleList(nn.Embedding(count, size) for count, size in zip(counts, sizes, strict=True))
        self.num_features = sum(sizes)

    def forward(self, codes: Tensor) -> Tensor:
        """int64 (B, columns) to float32 (B, num_features)."""
        return torch.cat([table(codes[:, column]) for column, table in enumerate(self.tables)], dim=1)
