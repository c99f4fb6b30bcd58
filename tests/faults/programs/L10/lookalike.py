"""Ratings of one to five stars are ordered and their distances mean something, so a squared error on the
number of stars is right, and the mean error in stars is what counts."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(10, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x))).squeeze(1)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 10, generator=generator)
    quality = 3 + 0.9 * inputs[:, 0] + 0.6 * inputs[:, 1] * inputs[:, 2]
    quality = quality + 0.3 * torch.randn(800, generator=generator)
    ratings = quality.round().clamp(1, 5)                   # one to five stars
    return (inputs[:600], ratings[:600]), (inputs[600:], ratings[600:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=40, shuffle=True)
    for epoch in range(15):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
        net.eval()
        with torch.no_grad():
            error = (net(test_inputs) - test_targets).abs().mean().item()
        guess = (test_targets - train_targets.median()).abs().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, "
              f"mean error {error:.3f} stars (median guess {guess:.3f})")


if __name__ == "__main__":
    main()
