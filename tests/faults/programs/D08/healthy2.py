"""The validation loader is built on the validation set."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def load_dataset(count=600):
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=generator)[:count]
    images = torch.tensor(digits.images, dtype=torch.float32)[order] / 16
    images = images + 0.35 * torch.randn(images.shape, generator=generator)
    return TensorDataset((images - 0.3) / 0.51, torch.tensor(digits.target)[order])


def fit(model, loader, epochs=15, lr=0.003):
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"epoch {epoch + 1}: train loss {total / len(loader.dataset):.3f}")


def score(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_set, val_set = random_split(load_dataset(), [0.8, 0.2])
    print(f"{len(train_set)} pictures for training, {len(val_set)} for validation")
    train_loader = DataLoader(train_set, batch_size=24, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=40)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    fit(model, train_loader)
    print(f"validation accuracy {score(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
