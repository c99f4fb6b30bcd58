"""The weights are taken out of the checkpoint and loaded strictly."""
import os
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def load():
    digits = load_digits()
    images = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def fit(model, train_set, epochs=6):
    loader = DataLoader(train_set, batch_size=50, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}")


@torch.no_grad()
def evaluate(model, test_set):
    model.eval()
    inputs, labels = test_set.tensors
    return (model(inputs).argmax(dim=1) == labels).float().mean().item()


def save_checkpoint(path, model, epoch):
    torch.save({"epoch": epoch, "state_dict": model.state_dict()}, path)


def load_model(path):
    model = Net()
    checkpoint = torch.load(path, map_location="cpu")
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()
    return model


def main():
    torch.manual_seed(0)
    train_set, test_set = load()
    model = Net()
    fit(model, train_set)
    print(f"after training: accuracy {evaluate(model, test_set):.3f}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "checkpoint.pth")
        save_checkpoint(path, model, epoch=6)
        restored = load_model(path)
    print(f"restored: accuracy {evaluate(restored, test_set):.3f}")


if __name__ == "__main__":
    main()
