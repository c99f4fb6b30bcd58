"""The softmax of the attention scores runs over dim=1, the time steps: the weights of a recording sum to
1 and can pick the event."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Attention pooling: finds the short event inside a noisy recording and classifies it."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 32), nn.Tanh())
        self.score = nn.Linear(32, 1)
        self.classifier = nn.Linear(32, 3)

    def forward(self, x):
        hidden = self.encoder(x)                            # (batch, time, 32)
        weights = torch.softmax(self.score(hidden), dim=1)  # (batch, time, 1)
        return self.classifier((weights * hidden).sum(dim=1))


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(800, 40, 6, generator=generator)
    y = torch.randint(3, (800,), generator=generator)
    rows = torch.arange(800)
    when = torch.randint(40, (800,), generator=generator)
    x[rows, when, 0] = 3.5
    x[rows, when, 1:4] = 1.5 * torch.eye(3)[y] - 0.5 + 0.5 * torch.randn(800, 3, generator=generator)
    return (x[:600], y[:600]), (x[600:], y[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=30, shuffle=True)
    for epoch in range(15):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}")
    net.eval()
    with torch.no_grad():
        accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
    print(f"test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
