"""Wrapped in nn.Parameter the centres and widths belong to the module: they are trained, saved and moved."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Radial basis functions with learnt centres and widths."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(24, 2))
        self.log_width = nn.Parameter(torch.zeros(24))
        self.output = nn.Linear(24, 3)

    def forward(self, x):
        distance = (x[:, None, :] - self.centres).square().sum(dim=2)
        return self.output(torch.exp(-distance * self.log_width.exp()))


def data():
    """Three arms of a spiral."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (1000,), generator=generator)
    radius = torch.rand(1000, generator=generator).sqrt()
    angle = 5.0 * radius + 2.0944 * y + 0.2 * torch.randn(1000, generator=generator)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    x = (x - x[:800].mean(dim=0)) / x[:800].std(dim=0)
    return (x[:800], y[:800]), (x[800:], y[800:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=25, shuffle=True)
    for epoch in range(20):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        if (epoch + 1) % 5 == 0:
            net.eval()
            with torch.no_grad():
                accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
