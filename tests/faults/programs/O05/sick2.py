"""The backbone is frozen for two epochs and should then be trained, but require_grad without the s only
makes a new attribute: it stays frozen to the end, features of other digits have to do, and the accuracy
suffers."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 6), nn.Tanh())
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def load(digits):
    raw = load_digits()
    keep = (raw.target >= digits[0]) & (raw.target <= digits[-1])
    images = (torch.tensor(raw.data[keep], dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(raw.target[keep] - digits[0])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return TensorDataset(images[:700], labels[:700]), TensorDataset(images[700:], labels[700:])


def train(model, loader, optimizer, criterion):
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(images)
    return total / len(loader.dataset)


def evaluate(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (model(images).argmax(dim=1) == labels).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    criterion = nn.CrossEntropyLoss()
    model = Classifier(5)
    train_set, _ = load(range(0, 5))
    loader = DataLoader(train_set, batch_size=50, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(8):
        train(model, loader, optimizer, criterion)

    train_set, test_set = load(range(5, 10))
    loader = DataLoader(train_set, batch_size=50, shuffle=True)
    model.requires_grad_(False)
    model.head = nn.Linear(6, 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(12):
        if epoch == 2:                                      # the head has settled: train everything
            for param in model.parameters():
                param.require_grad = True
        loss = train(model, loader, optimizer, criterion)
        accuracy = evaluate(model, DataLoader(test_set, batch_size=60))
        print(f"epoch {epoch + 1}: loss {loss:.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
