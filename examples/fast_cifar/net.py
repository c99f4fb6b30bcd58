"""A small network for pictures of 32×32 that learns CIFAR-10 in minutes on two cores of a processor.

netwright train examples/fast_cifar/net.py:Net --data cifar10 --epochs 7 --batch-size 256 --lr 0.01 --augment crop flip

Nearly all of its arithmetic is in the first blocks, so these are narrow. Test accuracy and time: ``docs/log.md``.
"""

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions; the picture is halved between them."""

    def __init__(self, before, after):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)

    def forward(self, x):
        x = torch.relu(self.norm1(self.pool(self.conv1(x))))
        return torch.relu(self.norm2(self.conv2(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.blocks = nn.Sequential(Block(24, 32), Block(32, 64), Block(64, 128))
        self.out = nn.Linear(128, 10)

    def forward(self, x):
        """Pictures (B, 3, 32, 32) to logits (B, 10)."""
        x = torch.relu(self.norm(self.conv(x)))
        x = self.blocks(x)  # (B, 128, 4, 4)
        return self.out(x.amax((2, 3)))
