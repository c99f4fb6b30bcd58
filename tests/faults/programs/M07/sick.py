"""The positional code of a tutorial for (time, batch, width) is added to (batch, time, width): the code
numbers the rows of the batch instead of the places in the sentence, so order is unknown and an answer
depends on the row."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PositionalEncoding(nn.Module):
    def __init__(self, width, max_len=1000):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        pe = torch.zeros(max_len, 1, width)
        pe[:, 0, 0::2] = torch.sin(position * frequency)
        pe[:, 0, 1::2] = torch.cos(position * frequency)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[:x.size(0)]


class Net(nn.Module):
    """Two marks stand somewhere in a sentence of 12 tokens: which comes first?"""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 32)
        self.position = PositionalEncoding(32)
        self.encoder = nn.TransformerEncoderLayer(32, 4, dim_feedforward=64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, tokens):                       # (batch, time)
        x = self.position(self.embedding(tokens))
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
