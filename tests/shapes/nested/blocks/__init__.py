"""The block is defined here, its width of kernel beside the package."""

from torch import nn

from ..constants import KERNEL


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2)
        self.act = nn.ReLU()

    def forward(self, x):
        return x + self.act(self.conv(x))
