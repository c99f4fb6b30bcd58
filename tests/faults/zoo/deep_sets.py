"""Deep Sets: a network per element, a mean over the set, a network on top; the spread of a set."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, dim=2, hidden=32):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(dim, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU())
        self.rho = nn.Sequential(nn.Linear(hidden, hidden), nn.ELU(), nn.Linear(hidden, 1))

    def forward(self, x):
        x = self.phi(x)  # (sets, elements, hidden)
        x = x.mean(dim=1)
        return self.rho(x)


def data():
    g = torch.Generator().manual_seed(0)
    spread = torch.rand(1200, 1, 2, generator=g) * 1.5 + 0.2
    sets = torch.randn(1200, 10, 2, generator=g) * spread
    y = sets.std(dim=1).sum(dim=1, keepdim=True)
    y = (y - y[:1000].mean()) / y[:1000].std()
    return (sets[:1000], y[:1000]), (sets[1000:], y[1000:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(12):
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
