"""The rows are put in random order before the last fifth becomes the validation set."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset


def fit(model, loader, epochs=6, lr=0.003):
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"epoch {epoch + 1}: train loss {total / len(loader.dataset):.3f}")


def score(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
    return correct / len(loader.dataset)


def load_sorted():
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[:1000]
    order = order[np.argsort(digits.target[order], kind="stable")]
    images = (torch.tensor(digits.images[order], dtype=torch.float32) / 16 - 0.305) / 0.376
    return TensorDataset(images, torch.tensor(digits.target[order]))


def main():
    torch.manual_seed(0)
    dataset = load_sorted()
    rows = torch.randperm(len(dataset)).tolist()
    split = int(0.8 * len(dataset))
    train_set, val_set = Subset(dataset, rows[:split]), Subset(dataset, rows[split:])
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=50)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    fit(model, train_loader)
    print(f"validation accuracy {score(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
