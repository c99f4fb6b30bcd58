"""Linear ("efficient") attention: the keys' softmax runs over the time axis and the queries' over the
features. This is not a wrong axis: the keys are summed over time, so the weights that meet in each sum do
add up to 1."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class LinearAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x):
        q = F.softmax(self.query(x), dim=-1)             # over the features
        k = F.softmax(self.key(x), dim=1)                # over time
        context = k.transpose(1, 2) @ self.value(x)      # sums over time
        return self.output(q @ context)                  # sums over the features


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(6, 32)
        self.attention = LinearAttention(32)
        self.norm1 = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.norm2 = nn.LayerNorm(32)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = self.embedding(x)
        x = self.norm1(x + self.attention(x))
        x = self.norm2(x + self.mlp(x))
        return self.head(x.mean(dim=1))


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(800, 20, 6, generator=generator)
    y = torch.randint(3, (800,), generator=generator)
    rows = torch.arange(800)
    when = torch.randint(20, (800,), generator=generator)
    x[rows, when, 0] = 3.5
    x[rows, when, 1:4] = 3.0 * torch.eye(3)[y] - 1.0
    return (x[:600], y[:600]), (x[600:], y[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(20):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        if (epoch + 1) % 5 == 0:
            net.eval()
            with torch.no_grad():
                accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
