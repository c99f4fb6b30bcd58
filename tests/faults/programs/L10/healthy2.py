"""A squared error for a continuous target."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(700, 8, generator=generator)
    targets = torch.sin(inputs[:, :1]) + 0.5 * inputs[:, 1:2] * inputs[:, 2:3] + 0.8 * inputs[:, 3:4]
    targets = targets + 0.1 * torch.randn(700, 1, generator=generator)
    return (inputs[:560], targets[:560]), (inputs[560:], targets[560:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=40, shuffle=True)
    for epoch in range(10):
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
            error = ((net(test_inputs) - test_targets) ** 2).mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, "
              f"test R2 {1 - error / test_targets.var().item():.3f}")


if __name__ == "__main__":
    main()
