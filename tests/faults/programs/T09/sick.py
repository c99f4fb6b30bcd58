"""The pretrained body is frozen with requires_grad=False, but stays in train mode: its batch norm
statistics drift to the new pictures and the old head no longer fits it."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body
        self.head = nn.Linear(64, 5)

    def forward(self, x):
        return self.head(self.body(x))


def get_digits(first, brightness=1.0):
    """Train and test set of five digits, labels counted from 0."""
    digits = load_digits()
    chosen = (digits.target >= first) & (digits.target < first + 5)
    images = (brightness * torch.tensor(digits.data[chosen], dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target[chosen]) - first
    return TensorDataset(images[:640], labels[:640]), TensorDataset(images[640:880], labels[640:880])


def fit(model, trainset, epochs, freeze=False):
    criterion = nn.CrossEntropyLoss()
    trainloader = DataLoader(trainset, batch_size=32, shuffle=True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.005)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for images, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
    print(f"loss after {epochs} epochs: {total / len(trainset):.3f}")


def accuracy(model, testset):
    model.eval()
    with torch.no_grad():
        hits = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in DataLoader(testset, batch_size=80))
    return hits / len(testset)


def main():
    torch.manual_seed(0)
    old_train, old_test = get_digits(0)
    new_train, new_test = get_digits(5, brightness=0.4)
    old = Classifier(nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()))
    fit(old, old_train, epochs=5)
    print(f"old task: {accuracy(old, old_test):.3f}")

    old.body.requires_grad_(False)
    new = Classifier(old.body)
    fit(new, new_train, epochs=10, freeze=True)
    print(f"new task: {accuracy(new, new_test):.3f}, old task now: {accuracy(old, old_test):.3f}")


if __name__ == "__main__":
    main()
