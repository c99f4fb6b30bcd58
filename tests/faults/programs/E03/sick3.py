"""The sum of the batches' mean losses is divided by the number of rows instead of the number of batches:
the printed loss is smaller than the true one by the batch size, and differently so for training and
validation."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.6 * x[:, 1] * x[:, 2] + 0.1 * torch.randn(n, generator=generator)
    return TensorDataset(x, y.unsqueeze(1))


def run_epoch(model, loader, loss_fn, optimizer=None):
    training = optimizer is not None
    model.train(training)
    running_loss = 0.0
    with torch.set_grad_enabled(training):
        for x, y in loader:
            loss = loss_fn(model(x), y)
            if training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            running_loss += loss.item()
    return running_loss / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=100)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 1))
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(10):
        train_loss = run_epoch(model, train_loader, loss_fn, optimizer)
        val_loss = run_epoch(model, val_loader, loss_fn)
        print(f"epoch {epoch + 1}: train {train_loss:.4f}, val {val_loss:.4f}")


if __name__ == "__main__":
    main()
