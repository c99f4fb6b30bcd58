"""nn.TransformerEncoderLayer takes (length, batch, width) unless told otherwise and gets (batch, length,
width): items attend to the same item of other samples, never to their own sample's."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """The first item asks, one of the other nine has the same key: its label is the answer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(6, 32)
        self.encoder = nn.TransformerEncoderLayer(32, 2, dim_feedforward=64, dropout=0.0)
        self.head = nn.Linear(32, 3)

    def forward(self, x):                # (batch, items, 6)
        x = self.encoder(self.embedding(x))
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


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(18):
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
            print(f"epoch {epoch + 1}: loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
