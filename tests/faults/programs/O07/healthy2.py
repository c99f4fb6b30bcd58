"""The L1 penalty is a small part of the loss."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load():
    digits = load_digits()
    images = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def l1_norm(model):
    return sum(p.abs().sum() for p in model.parameters())


def main():
    torch.manual_seed(0)
    train_set, test_set = load()
    loader = DataLoader(train_set, batch_size=50, shuffle=True)
    test_images, test_labels = test_set.tensors
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    l1_lambda = 1e-5
    for epoch in range(8):
        model.train()
        total = 0.0
        for images, labels in loader:
            loss = criterion(model(images), labels) + l1_lambda * l1_norm(model)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(images)
        model.eval()
        with torch.no_grad():
            accuracy = (model(test_images).argmax(dim=1) == test_labels).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
