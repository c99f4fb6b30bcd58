"""A network for tables: embedded numbers and categories, and a few layers over all of them."""

import math

import torch
from torch import nn

from netwright.blocks import CategoryEmbeddings, mlp


class Waves(nn.Module):
    """A number as sines and cosines of learned frequencies, then a small layer of its own for each column.

    A plain network is smooth in its inputs, and what tables say often is not (Gorishniy et al. 2022, arXiv:2203.05556).
    """

    def __init__(self, columns: int, waves: int = 24, features: int = 8) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(columns, waves))
        self.weight = nn.Parameter(torch.randn(columns, 2 * waves + 1, features) / math.sqrt(2 * waves + 1))
        self.bias = nn.Parameter(torch.zeros(columns, features))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Float32 (B, columns) to (B, columns * features)."""
        angles = 2 * math.pi * self.frequencies * numbers[..., None]
        waves = torch.cat((angles.sin(), angles.cos(), numbers[..., None]), dim=-1)
        return (torch.einsum("bcw,cwf->bcf", waves, self.weight) + self.bias).relu().flatten(1)


class Net(nn.Module):
    """Numbers through waves, categories through embeddings, both through two hidden layers.

    Args:
        num_numbers: Columns of numbers.
        cardinalities: Codes of each column of categories.
        num_outputs: Classes, or numbers to predict.
    """

    def __init__(
        self,
        num_numbers: int = 4,
        cardinalities: tuple[int, ...] = (3, 5),
        num_outputs: int = 2,
        hidden: int = 256,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.numbers = Waves(num_numbers) if num_numbers else None
        self.categories = CategoryEmbeddings(cardinalities, 8) if cardinalities else None
        width = 8 * num_numbers + (self.categories.num_features if self.categories else 0)
        self.layers = mlp(width, hidden, hidden, num_outputs, dropout=dropout)

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Numbers float32 (B, num_numbers) and codes int64 (B, columns) to (B, num_outputs)."""
        parts = [self.numbers(numbers)] if self.numbers is not None else []
        parts += [self.categories(categories)] if self.categories is not None else []
        return self.layers(torch.cat(parts, dim=1))
