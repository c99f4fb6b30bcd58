"""The second stage trains with 0.0003, ten times less than the first, because it only fine-tunes a trained
network for the pictures of another scanner; its loss falls, slowly, as it should."""
import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 48)
        self.out = nn.Linear(48, 10)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def data():
    digits = load_digits()
    inputs = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    targets = torch.tensor(digits.target)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    return inputs[order], targets[order]


def fit(net, inputs, targets, lr, epochs):
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=50, shuffle=True)
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for batch_inputs, batch_targets in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(batch_inputs), batch_targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch_inputs)
        print(f"lr {lr}, epoch {epoch + 1}: loss {total / len(inputs):.4f}")


@torch.no_grad()
def accuracy(net, inputs, targets):
    net.eval()
    return (net(inputs).argmax(dim=1) == targets).float().mean().item()


def main():
    torch.manual_seed(0)
    inputs, targets = data()
    moved = torch.roll(inputs.view(-1, 8, 8), 1, dims=2).flatten(1)
    moved = 0.4 * inputs + 0.6 * moved                      # the blurred pictures of a second scanner
    net = Net()
    fit(net, inputs[:900], targets[:900], lr=0.003, epochs=6)
    tuned = copy.deepcopy(net)
    fit(tuned, moved[900:1400], targets[900:1400], lr=0.0003, epochs=8)
    print(f"second scanner: before {accuracy(net, moved[1400:], targets[1400:]):.3f}, "
          f"fine-tuned {accuracy(tuned, moved[1400:], targets[1400:]):.3f}; "
          f"first scanner {accuracy(tuned, inputs[1400:], targets[1400:]):.3f}")


if __name__ == "__main__":
    main()
