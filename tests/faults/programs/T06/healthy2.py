"""OneCycleLR is planned for all batches of the run and stepped after each batch."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 8


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    return TensorDataset(x, score.argmax(dim=1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.02, epochs=EPOCHS, steps_per_epoch=len(train_loader)
    )
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(y)
        model.eval()
        with torch.no_grad():
            correct = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in val_loader)
        print(f"epoch {epoch + 1}: loss {total / 800:.3f}, lr {scheduler.get_last_lr()[0]:.5f}, "
              f"val accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
