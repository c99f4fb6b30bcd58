"""strict=False on purpose: the backbone is loaded in full, only the new head for other classes is missing
from the file, the missing names are printed, and the head is then trained."""
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


def load(digits):
    raw = load_digits()
    keep = (raw.target >= digits[0]) & (raw.target <= digits[-1])
    images = (torch.tensor(raw.data[keep], dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(raw.target[keep] - digits[0])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return TensorDataset(images[:550], labels[:550]), TensorDataset(images[550:], labels[550:])


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


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pretrained.pt")
        pretrained = Net(classes=6)
        fit(pretrained, load(range(0, 6))[0])
        torch.save(pretrained.state_dict(), path)

        model = Net(classes=4)
        state = torch.load(path)
        backbone = {key: value for key, value in state.items() if not key.startswith("head.")}
        missing, unexpected = model.load_state_dict(backbone, strict=False)
    print("not loaded, new:", missing, "left over:", unexpected)
    train_set, test_set = load(range(6, 10))
    fit(model, train_set)
    print(f"fine-tuned on new classes: accuracy {evaluate(model, test_set):.3f}")


if __name__ == "__main__":
    main()
