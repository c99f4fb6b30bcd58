"""One trunk, two classification heads, a tuple of logits; targets are two columns of class numbers."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 48), nn.ReLU()
        )
        self.digit = nn.Linear(48, 10)
        self.balance = nn.Linear(48, 3)

    def forward(self, x):
        h = self.trunk(x)
        return self.digit(h), self.balance(h)


def multitask_loss(outputs, targets):
    digit, balance = outputs
    return F.cross_entropy(digit, targets[:, 0]) + 0.5 * F.cross_entropy(balance, targets[:, 1])


def data():
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)
    ink = x.view(-1, 2, 32).sum(-1)
    share = ink[:, 0] / ink.sum(-1)
    balance = (share > 0.47).long() + (share > 0.53).long()  # is there more ink below, about equal, above
    y = torch.stack([torch.tensor(digits.target), balance], dim=1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])


RECIPE = {"loss": multitask_loss, "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        net.eval()
        with torch.no_grad():
            digit, balance = (out.argmax(dim=1) for out in net(test_x))
        a, b = ((p == t).float().mean().item() for p, t in zip((digit, balance), test_y.unbind(dim=1)))
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, digit {a:.4f}, balance {b:.4f}")


if __name__ == "__main__":
    main()
