"""permute turns (batch, channels, time) into (batch, time, channels): the GRU reads the features of one
moment after the other."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Convolutions, then a GRU: the order in which the three pulses of a recording come."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(2, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 24, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
        )
        self.rnn = nn.GRU(24, 32, batch_first=True)
        self.classifier = nn.Linear(32, 6)

    def forward(self, x):
        x = self.conv(x)                                         # (batch, channels, time)
        batch, channels, time = x.shape
        x = x.permute(0, 2, 1)                                   # (batch, time, channels)
        _, last = self.rnn(x)
        return self.classifier(last[-1])


def data():
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(900, 2, 96, generator=generator)
    orders = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    y = torch.randint(6, (900,), generator=generator)
    pulses = torch.tensor([[1.0, 2, 3, 2, 1], [2, -2, 3, -2, 2], [-1, -3, 0, 3, 1]])
    for i in range(900):
        starts = torch.randperm(15, generator=generator)[:3].sort().values * 6
        for start, kind in zip(starts.tolist(), orders[y[i]].tolist()):
            x[i, :, start:start + 5] += pulses[kind]
    return (x[:700], y[:700]), (x[700:], y[700:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    loss_fn = nn.CrossEntropyLoss()
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for x, y in loader:
            opt.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            opt.step()
            total += loss.item() * len(y)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
        print(f"epoch {epoch + 1}: loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
