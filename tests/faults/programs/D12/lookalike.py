"""A map made per split is right here: both splits hold every class and the names are sorted, so the two
maps are the same, and the program checks that they are."""
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


def encode(names):
    class_to_idx = {name: i for i, name in enumerate(sorted(set(names)))}
    return np.array([class_to_idx[name] for name in names]), class_to_idx


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    train_names, test_names = rng.choice(ANIMALS, 640).tolist(), rng.choice(ANIMALS, 200).tolist()
    train_x, test_x = measure(train_names, rng), measure(test_names, rng)
    train_y, train_map = encode(train_names)
    test_y, test_map = encode(test_names)
    assert train_map == test_map

    train_set = TensorDataset(torch.tensor(train_x), torch.tensor(train_y))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(TensorDataset(torch.tensor(test_x), torch.tensor(test_y)), batch_size=50)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6))
    fit(model, train_loader)
    print(f"test accuracy {score(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
