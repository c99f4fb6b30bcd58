"""A convolutional network for pictures of any size: what a part looks like counts, and not where it stands."""

import torch
from torch import nn


def block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions, then half the height and width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class Net(nn.Module):
    """Three blocks, the mean over all places, one linear layer.

    Args:
        in_channels: 1 for grey pictures, 3 for colour.
        num_classes: Answers to choose from.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10, width: int = 32) -> None:
        super().__init__()
        self.blocks = nn.Sequential(block(in_channels, width), block(width, 2 * width), block(2 * width, 4 * width))
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(4 * width, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, H, W), H and W from 8, to logits (B, num_classes)."""
        features = self.blocks(image).mean((2, 3))
        return self.out(self.drop(features))
