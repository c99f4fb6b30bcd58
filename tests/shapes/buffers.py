"""BatchNorm, a buffer of its own that each call changes, and a part that is always in evaluation mode."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.frozen = nn.BatchNorm1d(8).eval()
        self.fc = nn.Linear(8, 10)
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls += 1
        self.scale = self.scale * 1.0
        x = torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3))
        return self.fc(self.frozen(x) * self.scale)
