"""The model is traced while still in training mode: the exported batch norm normalises by the batch it is
given, and for a single request the answer does not depend on the picture at all."""
import os
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, 48, bias=False), nn.BatchNorm1d(48), nn.ReLU(),
            nn.Linear(48, 10),
        )

    def forward(self, x):
        return self.body(x)


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


def export(model, example, path):
    traced = torch.jit.trace(model, example)
    traced.save(path)


def main():
    torch.manual_seed(0)
    train_set, test_set = load()
    model = Net()
    fit(model, train_set)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.pt")
        export(model, train_set.tensors[0][:8], path)
        print(f"accuracy in the notebook {evaluate(model, test_set):.3f}")
        served = torch.jit.load(path)
    correct = 0
    with torch.no_grad():
        for image, label in zip(*test_set.tensors):         # requests come one at a time
            correct += int(served(image[None]).argmax(dim=1).item() == label.item())
    print(f"accuracy of the exported model {correct / len(test_set):.3f}")


if __name__ == "__main__":
    main()
