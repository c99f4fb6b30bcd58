"""view(time, batch, 2) on a (batch, time, 2) tensor only renames the axes: the GRU reads pieces of
different recordings as one series, so the answer for a recording depends on its neighbours in the batch."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Tells three kinds of vibration apart; recordings come as (batch, time, 2)."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 32)                     # expects (time, batch, 2)
        self.classifier = nn.Linear(32, 3)

    def forward(self, x):
        x = x.view(x.size(1), x.size(0), 2)
        outputs, _ = self.rnn(x)
        return self.classifier(outputs[-1])


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (600,), generator=generator)
    period = torch.tensor([6.0, 9.0, 13.0])[y] * (1 + 0.06 * torch.randn(600, generator=generator))
    phase = 6.283 * torch.rand(600, generator=generator)
    angle = 6.283 * torch.arange(24) / period[:, None] + phase[:, None]
    x = torch.stack([angle.sin(), angle.cos() + 0.5 * angle.sin()], dim=-1)
    x = x + 0.3 * torch.randn(600, 24, 2, generator=generator)
    return (x[:450], y[:450]), (x[450:], y[450:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=30, shuffle=True)
    for epoch in range(12):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
        print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
