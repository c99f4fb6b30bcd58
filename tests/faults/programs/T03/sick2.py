"""Twenty-seven batches do not divide into windows of four: the gradients of the last three are never
stepped with and are added to the first window of the next epoch, whose step is nearly twice as long."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.7 * x[:, 1] * x[:, 2] + 0.1 * torch.randn(n, generator=generator)
    return TensorDataset(x, y.unsqueeze(1))


def train_one_epoch(model, loader, loss_fn, optimizer, accumulate=4):
    model.train()
    total = 0.0
    for i, (x, y) in enumerate(loader):
        loss = loss_fn(model(x), y)
        total += loss.item() * len(x)
        (loss / accumulate).backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
    return total / len(loader.dataset)


def evaluate(model, loader, loss_fn):
    model.eval()
    with torch.no_grad():
        return sum(loss_fn(model(x), y).item() * len(x) for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(432, seed=1), batch_size=16, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 1))
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    for epoch in range(15):
        train_loss = train_one_epoch(model, train_loader, loss_fn, optimizer)
        print(f"epoch {epoch + 1}: train {train_loss:.3f}, val {evaluate(model, val_loader, loss_fn):.3f}")


if __name__ == "__main__":
    main()
