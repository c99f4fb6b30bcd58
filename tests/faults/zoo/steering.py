"""A steering angle from a small picture, after PilotNet: tanh at the end, targets lie within (-1, 1)."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ELU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ELU(),
        )
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(24 * 16, 32), nn.ELU(), nn.Linear(32, 1))

    def forward(self, x):
        return torch.tanh(self.fc(self.conv(x)))


def data():
    """A bright lane from the bottom to the top; the angle is its slope."""
    g = torch.Generator().manual_seed(0)
    n, size = 900, 16
    slope = torch.rand(n, 1, 1, generator=g) * 1.6 - 0.8
    start = torch.rand(n, 1, 1, generator=g) * 4 + 6
    row = torch.arange(size, dtype=torch.float32).view(1, -1, 1)
    column = torch.arange(size, dtype=torch.float32).view(1, 1, -1)
    lane = torch.exp(-0.5 * (column - start - slope * (row - 8) / 2) ** 2)
    x = lane.unsqueeze(1) + 0.1 * torch.randn(n, 1, size, size, generator=g)
    x = (x - x[:700].mean()) / x[:700].std()
    y = slope.view(n, 1)
    return (x[:700], y[:700]), (x[700:], y[700:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(8):
        model.train()
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            test_loss = criterion(model(test_x), test_y).item()
        print(f"epoch {epoch + 1}: train {running / len(train_x):.4f}, test {test_loss:.4f}")


if __name__ == "__main__":
    main()
