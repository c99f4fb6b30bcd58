"""The maximum is taken with torch: the gradient flows on into the encoder."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(1, 4, 7, padding=3), nn.ReLU())
        self.output = nn.Linear(4, 4)

    def forward(self, x):
        found = self.encoder(x)                      # (batch, 4, time)
        strongest = found.amax(dim=2)
        return self.output(strongest)


def data():
    """A pulse of one of four shapes somewhere in a noisy recording."""
    generator = torch.Generator().manual_seed(0)
    x = 0.4 * torch.randn(800, 1, 40, generator=generator)
    y = torch.randint(4, (800,), generator=generator)
    shapes = torch.tensor([[1, 2, 1, 0, 0, 0, 0.0], [-1, 2, -1, 2, -1, 2, -1],
                           [1, 1, 1, 1, 1, 1, 1], [2, 1, 0, 0, -1, -2, -1]])
    starts = torch.randint(33, (800,), generator=generator)
    for i in range(800):
        x[i, 0, starts[i]:starts[i] + 7] += shapes[y[i]]
    return (x[:600], y[:600]), (x[600:], y[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=30, shuffle=True)
    for epoch in range(15):
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
