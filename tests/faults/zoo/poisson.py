"""Counts: the network gives the log of the rate, PoissonNLLLoss takes it so; targets are whole numbers."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1)


def data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 6, generator=g)
    log_rate = 0.5 + 0.5 * x[:, 0] - 0.3 * x[:, 1] + 0.4 * torch.sin(2 * x[:, 2]) + 0.2 * x[:, 3] * x[:, 4]
    rate = torch.exp(log_rate)
    y = torch.poisson(rate.clamp(max=30), generator=g)
    return (x[:1600], y[:1600]), (x[1600:], y[1600:])


RECIPE = {"loss": nn.PoissonNLLLoss(log_input=True), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(10):
        model.train()
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            test_loss = criterion(model(test_x), test_y).item()
        print(f"epoch {epoch + 1}: train {running / len(train_x):.4f}, test {test_loss:.4f}")


if __name__ == "__main__":
    main()
