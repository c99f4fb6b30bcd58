"""A small network that learns MNIST in seconds: 0.99 of the test set, on a processor.

netwright train examples/fast_mnist/net.py:Net --data mnist --epochs 2 --batch-size 256 --lr 0.01 --augment none

Its first convolution halves the picture, so that little is left to compute. ``bench/fast_mnist.py`` runs ten seeds:
test accuracy 0.9918 in the mean, 0.9912 at the least, after 10 s of training with one thread (OMP_NUM_THREADS=1).
"""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, stride=2, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, bias=False)
        self.norm3 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(2)
        self.out = nn.Linear(64 * 3 * 3, 10)

    def forward(self, x):
        """Pictures (B, 1, 28, 28) to logits (B, 10)."""
        x = torch.relu(self.norm1(self.conv1(x)))  # (B, 16, 12, 12)
        x = self.pool(torch.relu(self.norm2(self.conv2(x))))  # (B, 32, 5, 5)
        x = torch.relu(self.norm3(self.conv3(x)))  # (B, 64, 3, 3)
        return self.out(x.flatten(1))
