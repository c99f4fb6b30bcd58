"""The learnt positional code has one entry that is broadcast over all places: it is a constant shift, and
the question which mark comes first cannot be answered."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Two marks stand somewhere in a sentence of 12 tokens: which comes first?"""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 32)
        self.position = nn.Parameter(0.5 * torch.randn(1, 1, 32))
        self.encoder = nn.TransformerEncoderLayer(32, 4, dim_feedforward=64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, tokens):                       # (batch, time)
        x = self.embedding(tokens) + self.position
        x = self.encoder(x)
        return self.head(x.mean(dim=1))


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(2, 20, (900, 12), generator=generator)
    places = torch.stack([torch.randperm(12, generator=generator)[:2] for _ in range(900)])
    rows = torch.arange(900)
    x[rows, places[:, 0]], x[rows, places[:, 1]] = 0, 1
    y = (places[:, 0] < places[:, 1]).long()
    return (x[:700], y[:700]), (x[700:], y[700:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=35, shuffle=True)
    for epoch in range(12):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        if (epoch + 1) % 2 == 0:
            net.eval()
            with torch.no_grad():
                accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
