"""zero_grad() stands between backward() and step(): the gradients are erased before they are used and no
weight ever moves."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_moons(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=generator)
    angle = torch.pi * torch.rand(n, generator=generator)
    sign = 1.0 - 2.0 * labels
    points = torch.stack([sign * angle.cos() + labels - 0.5, sign * angle.sin() + 0.5 * labels - 0.25], dim=1)
    return TensorDataset(points + 0.1 * torch.randn(n, 2, generator=generator), labels)


def train(model, loader, criterion, optimizer):
    model.train()
    total_loss = 0.0
    for x, y in loader:
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        total_loss += loss.item() * len(y)
    return total_loss / len(loader.dataset)


def test(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_moons(800, seed=1), batch_size=40, shuffle=True)
    test_loader = DataLoader(make_moons(200, seed=2), batch_size=40)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(8):
        loss = train(model, train_loader, criterion, optimizer)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, test accuracy {test(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
