"""Each optimizer has the parameters of its own network."""
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


def make_model(width):
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def main():
    torch.manual_seed(0)
    train_set, test_set = load()
    trainloader = DataLoader(train_set, batch_size=50, shuffle=True)
    testloader = DataLoader(test_set, batch_size=100)
    criterion = nn.CrossEntropyLoss()
    small, large = make_model(24), make_model(64)
    opt_small = torch.optim.Adam(small.parameters(), lr=0.005)
    opt_large = torch.optim.Adam(large.parameters(), lr=0.003)
    for epoch in range(5):
        loss_small = train(small, trainloader, opt_small, criterion)
        loss_large = train(large, trainloader, opt_large, criterion)
        print(f"epoch {epoch + 1}: small {loss_small:.3f} (accuracy {evaluate(small, testloader):.3f}), "
              f"large {loss_large:.3f} (accuracy {evaluate(large, testloader):.3f})")


if __name__ == "__main__":
    main()
