"""A linear probe: the backbone, trained on the digits 0 to 4, is frozen on purpose and only the new head
for 5 to 9 is given to the optimizer."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 96), nn.ReLU())
        self.head = nn.Linear(96, classes)

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
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(6):
        train(model, loader, optimizer, criterion)

    train_set, test_set = load(range(5, 10))
    loader = DataLoader(train_set, batch_size=50, shuffle=True)
    for param in model.backbone.parameters():
        param.requires_grad = False
    model.head = nn.Linear(96, 5)
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.01)
    for epoch in range(8):
        loss = train(model, loader, optimizer, criterion)
        accuracy = evaluate(model, DataLoader(test_set, batch_size=60))
        print(f"epoch {epoch + 1}: loss {loss:.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
