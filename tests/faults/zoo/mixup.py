"""Mixup: targets are probabilities, pairs of samples are mixed in the loop, CrossEntropyLoss takes both."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


def data():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = F.one_hot(torch.tensor(digits.target), 10).float() * 0.9 + 0.01  # softened: rows sum to one
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])


def mixup_data(x, y, alpha=0.2):
    lam = torch.distributions.Beta(alpha, alpha).sample().item()
    index = torch.randperm(x.size(0))
    return lam * x + (1 - lam) * x[index], lam * y + (1 - lam) * y[index]


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(6):
        net.train()
        total = 0.0
        for x, y in loader:
            x, y = mixup_data(x, y)
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        net.eval()
        with torch.no_grad():
            correct = (net(test_x).argmax(1) == test_y.argmax(1)).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, accuracy {correct / len(test_x):.4f}")


if __name__ == "__main__":
    main()
