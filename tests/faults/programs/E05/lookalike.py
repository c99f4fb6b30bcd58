"""state_dict() without a copy is right here: it is written to disk at once and read back from there, so
further training cannot change it."""
import os
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.6 * x[:, 1] * x[:, 2] + 0.5 * x[:, 3]
    return TensorDataset(x, (y + 0.4 * torch.randn(n, generator=generator)).unsqueeze(1))


def evaluate(model, loader, loss_fn):
    model.eval()
    with torch.no_grad():
        return sum(loss_fn(model(x), y).item() * len(x) for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(300, seed=1), batch_size=20, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    test_loader = DataLoader(make_data(200, seed=3), batch_size=50)
    model = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    best_loss = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "best.pt")
        for epoch in range(30):
            model.train()
            for x, y in train_loader:
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
            val_loss = evaluate(model, val_loader, loss_fn)
            print(f"epoch {epoch + 1}: val {val_loss:.3f}")
            if val_loss < best_loss:
                best_loss = val_loss
                best_state = model.state_dict()
                torch.save(best_state, path)
        model.load_state_dict(torch.load(path, weights_only=True))
    print(f"best val {best_loss:.3f}, val now {evaluate(model, val_loader, loss_fn):.3f}, "
          f"test {evaluate(model, test_loader, loss_fn):.3f}")


if __name__ == "__main__":
    main()
