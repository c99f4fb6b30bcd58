"""torch.stack keeps the history of the states: the cell gets its gradient."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Tells three kinds of vibration apart by the mean of the states of a recurrent cell."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(2, 12)
        self.output = nn.Linear(12, 3)

    def forward(self, x):
        state = torch.zeros(x.size(0), 12)
        states = []
        for t in range(x.size(1)):
            state = self.cell(x[:, t], state)
            states.append(state)
        states = torch.stack(states)                 # (time, batch, 12)
        return self.output(states.mean(dim=0))


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


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(12):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        if (epoch + 1) % 3 == 0:
            net.eval()
            with torch.no_grad():
                accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
