"""All inputs through *args."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(10)

    def forward(self, *inputs):
        return self.head(torch.cat([each.flatten(1) for each in inputs], dim=1))
