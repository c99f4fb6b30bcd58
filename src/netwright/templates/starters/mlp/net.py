"""A multi-layer perceptron: every input number is seen by every unit. For pictures as a start, and for tables."""

import torch
from torch import nn


class Net(nn.Module):
    """Two hidden layers of 256 units.

    Args:
        in_features: Numbers of one input, taken all in a row.
        num_classes: Answers to choose from.
    """

    def __init__(self, in_features: int = 784, num_classes: int = 10, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape (B, ...) to logits (B, num_classes)."""
        return self.layers(x.flatten(1))
