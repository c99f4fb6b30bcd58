"""Batch norm statistics of a frozen network that move are right here: adapting them to unlabelled pictures
of a new, darker camera (AdaBN) is the purpose of the last passes, and raises the accuracy there."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).float().mean().item()


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    train_loader = DataLoader(TensorDataset(images[:960], labels[:960]), batch_size=32, shuffle=True)
    test_images, test_labels = images[960:1160], labels[960:1160]
    camera_images, camera_labels = 0.5 * images[1160:] - 1.0, labels[1160:]
    adapt_images, camera_images = camera_images[:400], camera_images[400:]

    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(6):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"loss {total / 960:.3f}, test accuracy {accuracy(model, test_images, test_labels):.3f}")

    model.requires_grad_(False)
    print(f"new camera: {accuracy(model, camera_images, camera_labels[400:]):.3f}")
    model.train()
    with torch.no_grad():
        for _ in range(4):
            for (x,) in DataLoader(TensorDataset(adapt_images), batch_size=50, shuffle=True):
                model(x)
    print(f"new camera, adapted: {accuracy(model, camera_images, camera_labels[400:]):.3f}")


if __name__ == "__main__":
    main()
