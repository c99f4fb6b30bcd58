"""The heads were stacked along the batch axis with the heads outermost but are viewed as (batch, heads,
...): a sample gets the attention results of other samples of the batch."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MultiHeadAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        size = width // self.heads
        # the heads are laid one after the other along the batch axis: (heads * batch, length, size)
        q, k, v = (torch.cat(part.split(size, dim=-1), dim=0) for part in self.qkv(x).chunk(3, dim=-1))
        weights = F.softmax(torch.bmm(q, k.transpose(1, 2)) / size ** 0.5, dim=-1)
        x = torch.bmm(weights, v).view(batch, self.heads, length, size)
        return self.output(x.permute(0, 2, 1, 3).reshape(batch, length, width))


class Net(nn.Module):
    """The first item asks, one of the other nine has the same key: its label is the answer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(6, 32)
        self.attention = MultiHeadAttention(32, heads=4)
        self.norm1 = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.norm2 = nn.LayerNorm(32)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = self.embedding(x)
        x = self.norm1(x + self.attention(x))
        x = self.norm2(x + self.mlp(x))
        return self.head(x[:, 0])


def data():
    generator = torch.Generator().manual_seed(0)
    keys = F.normalize(torch.randn(1200, 10, 3, generator=generator), dim=-1) * 3 ** 0.5
    values = torch.randint(3, (1200, 10), generator=generator)
    rows = torch.arange(1200)
    wanted = torch.randint(1, 10, (1200,), generator=generator)
    keys[:, 0] = keys[rows, wanted]
    labels = F.one_hot(values, 3).float()
    labels[:, 0] = 0.0
    x, y = torch.cat([keys, labels], dim=-1), values[rows, wanted]
    return (x[:1000], y[:1000]), (x[1000:], y[1000:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=100, shuffle=True)
    for epoch in range(25):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
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
