"""Training goes on until the validation loss has not improved for five epochs."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.7 * x[:, 1] * x[:, 2] + 0.1 * torch.randn(n, generator=generator)
    return TensorDataset(x, y.unsqueeze(1))


def train_one_epoch(model, loader, loss_fn, optimizer):
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    return total / len(loader.dataset)


def evaluate(model, loader, loss_fn):
    model.eval()
    with torch.no_grad():
        return sum(loss_fn(model(x), y).item() * len(x) for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=40, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    test_loader = DataLoader(make_data(200, seed=3), batch_size=50)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    best, waited = float("inf"), 0
    for epoch in range(100):
        train_loss = train_one_epoch(model, train_loader, loss_fn, optimizer)
        val_loss = evaluate(model, val_loader, loss_fn)
        print(f"epoch {epoch + 1}: train {train_loss:.3f}, val {val_loss:.3f}")
        best, waited = (val_loss, 0) if val_loss < best else (best, waited + 1)
        if waited == 5:
            break
    print(f"test {evaluate(model, test_loader, loss_fn):.3f}")


if __name__ == "__main__":
    main()
