"""No batch_first here, and rightly so: forward turns the recordings into (time, batch, features), the
layout that nn.LSTM takes by default, and reads the last time step as out[-1]."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Tells three kinds of vibration apart."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 32)
        self.fc = nn.Linear(32, 3)

    def forward(self, x):                # (batch, time, 2)
        out, _ = self.lstm(x.transpose(0, 1))
        return self.fc(out[-1])


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (900,), generator=generator)
    period = torch.tensor([6.0, 9.0, 13.0])[y] * (1 + 0.06 * torch.randn(900, generator=generator))
    phase = 6.283 * torch.rand(900, generator=generator)
    angle = 6.283 * torch.arange(16) / period[:, None] + phase[:, None]
    x = torch.stack([angle.sin(), angle.cos() + 0.5 * angle.sin()], dim=-1)
    x = x + 0.3 * torch.randn(900, 16, 2, generator=generator)
    return (x[:720], y[:720]), (x[720:], y[720:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def train(model, loader, criterion, optimizer):
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    return total / len(loader.dataset)


def evaluate(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(dim=1) == y).float().mean().item()


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=30, shuffle=True)
    for epoch in range(20):
        loss = train(model, loader, criterion, optimizer)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, test accuracy {evaluate(model, test_x, test_y):.3f}")


if __name__ == "__main__":
    main()
