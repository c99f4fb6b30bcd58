"""Regression with Huber loss on standardised targets; the error is reported in the targets' own unit."""
import torch
from sklearn.datasets import make_friedman1
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.net(x)


def raw():
    x, y = make_friedman1(n_samples=1200, noise=0.5, random_state=0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32).unsqueeze(1)


def data():
    x, y = raw()
    x = (x - x[:900].mean(0)) / x[:900].std(0)
    y = (y - y[:900].mean()) / y[:900].std()
    return (x[:900], y[:900]), (x[900:], y[900:])


RECIPE = {"loss": nn.HuberLoss(delta=1.0), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    unit = raw()[1][:900].std().item()
    model = Net()
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=60, shuffle=True)
    for epoch in range(15):
        model.train()
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = RECIPE["loss"](model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * x.size(0)
        model.eval()
        with torch.no_grad():
            mae = (model(test_x) - test_y).abs().mean().item() * unit
        print(f"epoch {epoch + 1}: loss {running / len(train_x):.4f}, test MAE {mae:.4f}")


if __name__ == "__main__":
    main()
