"""A logit above 0 means class 1, so the accuracy is the network's own."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_moons(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=generator)
    angle = torch.pi * torch.rand(n, generator=generator)
    sign = 1.0 - 2.0 * labels
    points = torch.stack([sign * angle.cos() + labels - 0.5, sign * angle.sin() + 0.5 * labels - 0.25], dim=1)
    points = points + 0.15 * torch.randn(n, 2, generator=generator)
    return TensorDataset(points, labels.float().unsqueeze(1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_moons(800, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_moons(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(8):
        model.train()
        running_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(y)
        model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in test_loader:
                outputs = model(x)
                predicted = outputs > 0
                correct += (predicted == y).sum().item()
        print(f"epoch {epoch + 1}: loss {running_loss / 800:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
