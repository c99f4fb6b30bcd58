"""One layer is used four times on purpose (weights shared across depth, as in ALBERT): the code has one
layer and says how often it is applied, nothing pretends to be four."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.input = nn.Linear(6, 16)
        self.shared = nn.Linear(16, 16)
        self.depth = 4
        self.output = nn.Linear(16, 6)

    def forward(self, x):
        x = torch.tanh(self.input(x))
        for _ in range(self.depth):
            x = torch.tanh(self.shared(x))
        return self.output(x)


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 6, generator=generator)
    y = x
    for _ in range(3):
        y = torch.tanh(y @ torch.randn(y.size(1), 8, generator=generator) / 2 ** 0.5)
    y = y @ torch.randn(8, 6, generator=generator) + 0.1 * torch.randn(1000, 6, generator=generator)
    y = (y - y[:800].mean(dim=0)) / y[:800].std(dim=0)
    return (x[:800], y[:800]), (x[800:], y[800:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(25):
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
                test_loss = criterion(net(test_x), test_y)
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test loss {test_loss:.3f}")


if __name__ == "__main__":
    main()
