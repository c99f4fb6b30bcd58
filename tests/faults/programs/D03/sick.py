"""The training pictures are divided by 255 and normalised, the test pictures are used with their pixel
values 0 to 255: the test score is far below what the network can do."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def fit(model, loader, epochs=6, lr=0.003):
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


def prepare(pictures):
    return (torch.from_numpy(pictures).float() / 255 - 0.695) / 0.376


def main():
    torch.manual_seed(0)
    digits = load_digits()
    order = torch.randperm(len(digits.target))[:1000].numpy()
    pictures = 255 - (digits.images[order] * 255 / 16).astype("uint8")     # dark ink on white paper
    labels = torch.from_numpy(digits.target[order])

    train_images = prepare(pictures[:800])
    test_images = torch.from_numpy(pictures[800:]).float()
    train_loader = DataLoader(TensorDataset(train_images, labels[:800]), batch_size=32, shuffle=True)
    test_loader = DataLoader(TensorDataset(test_images, labels[800:]), batch_size=50)

    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    fit(model, train_loader)
    print(f"test accuracy {score(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
