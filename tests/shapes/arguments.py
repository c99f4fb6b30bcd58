"""A constructor that needs arguments."""

from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Net(nn.Module):
    def __init__(self, hidden: int, act: str = "relu", sizes=(64,)):
        super().__init__()
        layers, width = [nn.Flatten()], sizes[0]
        for size in [*sizes[1:], hidden]:
            layers += [nn.Linear(width, size), ACTIVATIONS[act]()]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, 10))

    def forward(self, x):
        return self.layers(x)
