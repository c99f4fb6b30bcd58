"""Several inputs by name, one of them optional."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_side = nn.Linear(64, 16)
        self.table_side = nn.Linear(4, 16)
        self.head = nn.Linear(32, 10)

    def forward(self, image, table, weight=None):
        pixels = torch.relu(self.image_side(image.flatten(1)))
        columns = torch.relu(self.table_side(table))
        if weight is not None:
            columns = columns * weight
        return self.head(torch.cat([pixels, columns], dim=1))
