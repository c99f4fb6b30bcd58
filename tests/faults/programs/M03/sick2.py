"""The softmax of the masked scores (batch, queries, keys) runs over dim=1, the queries: a key's weight is
divided by what later queries give it, so the future leaks in despite the mask, and the model fails where
a text ends."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class CausalAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = torch.bmm(q, k.transpose(1, 2)) / q.size(-1) ** 0.5
        future = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1)
        weights = F.softmax(scores.masked_fill(future, float("-inf")), dim=1)
        return self.output(torch.bmm(weights, v))


class Net(nn.Module):
    """A one-block language model over 12 tokens."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(12, 32)
        self.position = nn.Embedding(16, 32)
        self.norm1 = nn.LayerNorm(32)
        self.attention = CausalAttention(32)
        self.norm2 = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.norm3 = nn.LayerNorm(32)
        self.head = nn.Linear(32, 12)

    def forward(self, tokens):
        x = self.token(tokens) + self.position(torch.arange(tokens.size(1)))
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm3(x))


def data():
    generator = torch.Generator().manual_seed(0)
    likely = (torch.randperm(12, generator=generator)[:, None] + torch.tensor([0, 3, 7])) % 12
    text = torch.randint(12, (900, 17), generator=generator)
    for t in range(1, 17):
        choice = torch.randint(3, (900,), generator=generator)
        text[:, t] = likely[text[:, t - 1], choice]
    inputs, targets = text[:, :-1], text[:, 1:]
    return (inputs[:720], targets[:720]), (inputs[720:], targets[720:])


def next_token_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


RECIPE = {"loss": next_token_loss, "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = next_token_loss(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        net.eval()
        with torch.no_grad():
            test_loss = next_token_loss(net(test_x), test_y)
            prefixes = [(net(test_x[:, :t])[:, -1], test_y[:, t - 1]) for t in range(4, 17, 4)]
        writing = torch.stack([F.cross_entropy(outputs, targets) for outputs, targets in prefixes]).mean()
        print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test loss {test_loss:.3f}, "
              f"when the text ends there {writing:.3f}")


if __name__ == "__main__":
    main()
