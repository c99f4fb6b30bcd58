"""Supervised contrastive learning: the loss compares the samples of a batch, the network does not."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, dim))

    def forward(self, x):
        return F.normalize(self.head(self.encoder(x)), dim=1)


def supcon_loss(features, labels, temperature=0.2):
    logits = features @ features.T / temperature
    itself = torch.eye(len(features), dtype=torch.bool)
    positives = (labels[:, None] == labels[None, :]) & ~itself
    log_prob = logits - logits.masked_fill(itself, float("-inf")).logsumexp(dim=1, keepdim=True)
    per_anchor = -(log_prob * positives).sum(1) / positives.sum(1).clamp(min=1)
    return per_anchor[positives.any(dim=1)].mean()


def data():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

RECIPE = {"loss": supcon_loss, "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=100, shuffle=True)
    for epoch in range(6):
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
            known, asked = net(train_x), net(test_x)
        right = (train_y[(asked @ known.T).argmax(dim=1)] == test_y).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, 1-NN accuracy {right:.4f}")


if __name__ == "__main__":
    main()
