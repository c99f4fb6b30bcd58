"""A dataclass with logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Output:
    logits: torch.Tensor
    loss: torch.Tensor | None = None
    hidden: torch.Tensor | None = None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, inputs):
        hidden = torch.tanh(self.fc1(inputs.flatten(1)))
        return Output(logits=self.fc2(hidden), hidden=hidden)
