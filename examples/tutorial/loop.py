"""The usual hand-written loop for the tutorial network: the yardstick for equality and for speed.

    python examples/tutorial/loop.py            # ten epochs of the original recipe on the embedded digits
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(net, loader, epochs, seed=0):
    """Train ``net`` in the original recipe; the batches come from ``loader`` in its own order."""
    torch.manual_seed(seed)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(loader):.4f}")
    return net


def accuracy(net, loader):
    """Share of right answers."""
    net.eval()
    with torch.no_grad():
        right = sum((net(inputs).argmax(1) == targets).sum().item() for inputs, targets in loader)
    return right / len(loader.dataset)


def main():
    from net import Net

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    images = nn.functional.interpolate(images, size=(28, 28), mode="bilinear")
    labels = torch.tensor(digits.target)
    train_ids, test_ids = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    generator = torch.Generator().manual_seed(0)
    train_set = TensorDataset(images[train_ids], labels[train_ids])
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True, generator=generator)
    test_loader = DataLoader(TensorDataset(images[test_ids], labels[test_ids]), batch_size=64)

    torch.manual_seed(0)
    net = Net()
    train(net, train_loader, epochs=10)
    print(f"test accuracy {accuracy(net, test_loader):.4f}")


if __name__ == "__main__":
    main()
