"""A learning rate that falls to nothing and jumps back is right here: cosine annealing with warm restarts
is stepped for every batch in fractions of an epoch, and restarts after the second and the sixth epoch."""
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.7 * x[:, 1] * x[:, 2] + 0.1 * torch.randn(n, generator=generator)
    return TensorDataset(x, y.unsqueeze(1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)
    for epoch in range(14):
        model.train()
        total = 0.0
        for i, (x, y) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step(epoch + (i + 1) / len(train_loader))
            total += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            test_loss = sum(criterion(model(x), y).item() * len(x) for x, y in test_loader) / 200
        print(f"epoch {epoch + 1}: train {total / 800:.4f}, test {test_loss:.4f}")


if __name__ == "__main__":
    main()
