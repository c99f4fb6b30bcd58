"""scaler.step() divides the gradients by the loss scale before the step, and scaler.update() adapts the
scale."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    return TensorDataset(x, score.argmax(dim=1))


def train_epoch(model, loader, criterion, optimizer, scaler, device):
    model.train()
    total = 0.0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type=device, dtype=torch.float16):
            loss = criterion(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total += loss.item() * len(y)
    return total / len(loader.dataset)


def evaluate(model, loader, device):
    model.eval()
    with torch.no_grad():
        hits = sum((model(x.to(device)).argmax(dim=1).cpu() == y).sum().item() for x, y in loader)
    return hits / len(loader.dataset)


def main():
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 3)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler(device, init_scale=1024.0)
    for epoch in range(8):
        loss = train_epoch(model, train_loader, nn.CrossEntropyLoss(), optimizer, scaler, device)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, test accuracy {evaluate(model, test_loader, device):.3f}")


if __name__ == "__main__":
    main()
