"""The classes are numbered in the order in which os.listdir() names the folders, which follows no rule and
differs between the training and the test folder: right answers count as wrong."""
import os
import tempfile
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


ANIMALS = ["ant", "bee", "cat", "dog", "emu", "fox"]


def measure(names, rng):
    """Eight measurements of each animal."""
    centres = np.random.default_rng(7).normal(size=(6, 8)) * 1.2
    kind = np.array([ANIMALS.index(name) for name in names])
    return (centres[kind] + 0.8 * rng.normal(size=(len(names), 8))).astype(np.float32)


def fit(model, loader, epochs=8, lr=0.003):
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


def write_folders(root, order, count, rng):
    for name in order:
        os.makedirs(os.path.join(root, name))
        np.save(os.path.join(root, name, "measurements.npy"), measure([name] * count, rng))


def read_folders(root):
    classes = os.listdir(root)
    parts = [np.load(os.path.join(root, name, "measurements.npy")) for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in parts])
    return np.concatenate(parts), labels


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        write_folders(os.path.join(root, "train"), ANIMALS, 105, rng)
        write_folders(os.path.join(root, "test"), ["fox", "cat", "ant", "emu", "bee", "dog"], 35, rng)
        train_x, train_y = read_folders(os.path.join(root, "train"))
        test_x, test_y = read_folders(os.path.join(root, "test"))

    train_loader = DataLoader(TensorDataset(torch.tensor(train_x), torch.tensor(train_y)), batch_size=32, shuffle=True)
    test_loader = DataLoader(TensorDataset(torch.tensor(test_x), torch.tensor(test_y)), batch_size=50)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6))
    fit(model, train_loader)
    print(f"test accuracy {score(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
