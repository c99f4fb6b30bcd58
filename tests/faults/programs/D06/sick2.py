"""Two downloads of the same collection were put together and many pictures are in both: the random split
puts one copy into training and the other into the test, which looks better than it is."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def collect():
    """Two downloads of 420 pictures each; 340 pictures are in both."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.target))[:500]
    images = digits.images[order] / 16 + 0.35 * rng.normal(size=(500, 8, 8))
    rows = np.concatenate([np.arange(420), np.arange(80, 500)])
    return images[rows].astype(np.float32), digits.target[order][rows]


@torch.no_grad()
def accuracy(net, loader):
    net.eval()
    correct = count = 0
    for x, y in loader:
        correct += (net(x).argmax(dim=1) == y).sum().item()
        count += len(y)
    return correct / count


def main():
    torch.manual_seed(0)
    images, labels = collect()
    order = np.random.default_rng(1).permutation(len(labels))
    x, y = torch.tensor(images[order] - 0.3) / 0.51, torch.tensor(labels[order])
    split = int(0.8 * len(y))
    train_loader = DataLoader(TensorDataset(x[:split], y[:split]), batch_size=25, shuffle=True)
    test_loader = DataLoader(TensorDataset(x[split:], y[split:]), batch_size=50)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    loss_fn = nn.CrossEntropyLoss()
    opt = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(16):
        model.train()
        total = 0.0
        for xb, yb in train_loader:
            opt.zero_grad()
            loss = loss_fn(model(xb), yb)
            loss.backward()
            opt.step()
            total += loss.item() * len(yb)
        if epoch % 4 == 3:
            print(f"epoch {epoch + 1}: train loss {total / split:.3f}")
    print(f"test accuracy {accuracy(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
