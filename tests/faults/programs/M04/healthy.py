"""The heads are merged by transpose(1, 2) and then reshape: what a token's heads found goes back to that
token."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MultiHeadAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, self.size).transpose(1, 2)
                   for part in self.qkv(x).chunk(3, dim=-1))
        weights = F.softmax(q @ k.transpose(-2, -1) / self.size ** 0.5, dim=-1)
        merged = (weights @ v).transpose(1, 2).reshape(batch, length, width)
        return self.output(merged)


class Net(nn.Module):
    """Marks each token: is it of the same kind (odd, even) as the one before it?"""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(20, 32)
        self.position = nn.Embedding(16, 32)
        self.norm1 = nn.LayerNorm(32)
        self.attention = MultiHeadAttention(32, heads=4)
        self.norm2 = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.norm3 = nn.LayerNorm(32)
        self.head = nn.Linear(32, 2)

    def forward(self, tokens):
        x = self.token(tokens) + self.position(torch.arange(tokens.size(1)))
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm3(x))


def data():
    tokens = torch.randint(20, (1000, 17), generator=torch.Generator().manual_seed(0))
    x, y = tokens[:, 1:], (tokens[:, 1:] % 2 == tokens[:, :-1] % 2).long()
    y[:, 0] = 0
    return (x[:800], y[:800]), (x[800:], y[800:])


def tagging_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


RECIPE = {"loss": tagging_loss, "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=80, shuffle=True)
    for epoch in range(18):
        model.train()
        total = 0.0
        for x, y in loader:
            loss = tagging_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        if (epoch + 1) % 3 == 0:
            model.eval()
            with torch.no_grad():
                accuracy = (model(test_x).argmax(dim=-1) == test_y).float().mean()
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
