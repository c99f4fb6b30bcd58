"""Batch norm in eval mode while training is right here: the pretrained body is frozen on purpose, its
statistics belong to its weights, and only the new head with its dropout is in train mode."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def fit(body, head, loader, parameters, epochs, frozen):
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(parameters, lr=0.005)
    for epoch in range(epochs):
        body.train(not frozen)
        head.train()
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(head(body(images)), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        print(f"epoch {epoch + 1}: loss {total / len(loader.dataset):.3f}")


def accuracy(body, head, loader):
    body.eval()
    head.eval()
    with torch.no_grad():
        hits = sum((head(body(x)).argmax(dim=1) == y).sum().item() for x, y in loader)
    return hits / len(loader.dataset)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data[:1000], dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target[:1000])
    generator = torch.Generator().manual_seed(0)
    train_set, test_set = random_split(TensorDataset(images, labels), [800, 200], generator=generator)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    body = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())
    head = nn.Linear(64, 10)
    fit(body, head, train_loader, [*body.parameters(), *head.parameters()], epochs=4, frozen=False)
    print(f"digit accuracy {accuracy(body, head, DataLoader(test_set, batch_size=50)):.3f}")

    body.requires_grad_(False)
    parity_train = TensorDataset(images[train_set.indices], labels[train_set.indices] % 2)
    parity_test = TensorDataset(images[test_set.indices], labels[test_set.indices] % 2)
    new_head = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    loader = DataLoader(parity_train, batch_size=32, shuffle=True)
    fit(body, new_head, loader, new_head.parameters(), epochs=5, frozen=True)
    print(f"parity accuracy {accuracy(body, new_head, DataLoader(parity_test, batch_size=50)):.3f}")


if __name__ == "__main__":
    main()
