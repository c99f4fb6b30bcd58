"""Only the head is put into eval mode for the validation; the encoder, where the dropout and the batch norm
are, stays in train mode, and the validation loss comes out too high."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_encoder():
    return nn.Sequential(
        nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.4), nn.Linear(64, 32), nn.ReLU()
    )


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=generator)
    y = 0.8 * x[:, 0] + torch.sin(2 * x[:, 1]) + 0.5 * x[:, 2] * x[:, 3]
    return TensorDataset(x, (y + 0.1 * torch.randn(n, generator=generator)) / 1.2)


def validate(encoder, head, loader, loss_fn):
    head.eval()
    with torch.no_grad():
        total = sum(loss_fn(head(encoder(x)).squeeze(1), y).item() * len(y) for x, y in loader)
    return total / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=20)
    encoder, head = make_encoder(), nn.Linear(32, 1)
    loss_fn = nn.MSELoss()
    opt = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=0.005)
    for epoch in range(10):
        encoder.train()
        head.train()
        total = 0.0
        for x, y in train_loader:
            opt.zero_grad()
            loss = loss_fn(head(encoder(x)).squeeze(1), y)
            loss.backward()
            opt.step()
            total += loss.item() * len(y)
        val_loss = validate(encoder, head, val_loader, loss_fn)
        print(f"epoch {epoch + 1}: train {total / 800:.3f}, val {val_loss:.3f}")


if __name__ == "__main__":
    main()
