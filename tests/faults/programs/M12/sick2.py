"""The head is built once, before the comprehension, and put three times into the list: the three heads
are one, and the three predictions are always equal."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """One trunk, one small head for each of three quantities to predict."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(5, 48), nn.ReLU())
        head = nn.Sequential(nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 1))
        self.heads = nn.ModuleList([head for _ in range(3)])

    def forward(self, x):
        x = self.trunk(x)
        return torch.cat([head(x) for head in self.heads], dim=1)


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(800, 5, generator=generator)
    y = torch.stack([x[:, 0] + x[:, 1].sin(), x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 0]], dim=1)
    y = y + 0.1 * torch.randn(800, 3, generator=generator)
    y = (y - y[:600].mean(dim=0)) / y[:600].std(dim=0)
    return (x[:600], y[:600]), (x[600:], y[600:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=30, shuffle=True)
    for epoch in range(20):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        if (epoch + 1) % 4 == 0:
            net.eval()
            with torch.no_grad():
                test_loss = criterion(net(test_x), test_y)
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test loss {test_loss:.3f}")


if __name__ == "__main__":
    main()
