"""The outputs and losses of every training batch are kept in lists for the epoch's figures, together with
their graphs: all activations of the epoch stay in memory."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    return TensorDataset(x, score.argmax(dim=1))


def train_epoch(model, loader, criterion, optimizer):
    model.train()
    losses, outputs, targets = [], [], []
    for x, y in loader:
        optimizer.zero_grad()
        logits = model(x)
        loss = criterion(logits, y)
        loss.backward()
        optimizer.step()
        losses.append(loss)
        outputs.append(logits)
        targets.append(y)
    accuracy = (torch.cat(outputs).argmax(dim=1) == torch.cat(targets)).float().mean().item()
    return sum(losses) / len(losses), accuracy


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        hits = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in loader)
    return hits / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(8):
        loss, accuracy = train_epoch(model, train_loader, criterion, optimizer)
        print(f"loss {loss:.3f}, train {accuracy:.3f}, val {evaluate(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
