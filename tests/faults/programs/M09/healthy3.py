"""The mask is spread over the last axis of the scores, the keys: no real token attends to padding."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x, real):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2)
                   for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5         # (batch, heads, queries, keys)
        scores = scores.masked_fill(~real[:, None, None, :], -1e9)
        found = scores.softmax(dim=-1) @ v
        return self.output(found.transpose(1, 2).reshape(batch, length, width))


class Net(nn.Module):
    """Is a text mostly bad, mixed or mostly good? Read off [CLS]; texts are padded with token 0."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(42, 32, padding_idx=0)
        self.attention = SelfAttention(32, heads=4)
        self.norm1 = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
        self.norm2 = nn.LayerNorm(32)
        self.classifier = nn.Linear(32, 3)

    def forward(self, tokens):
        x = self.token(tokens)
        x = self.norm1(x + self.attention(x, real=tokens != 0))
        x = self.norm2(x + self.mlp(x))
        return self.classifier(x[:, 0])


def data():
    generator = torch.Generator().manual_seed(0)                       # 0 padding, 1 [CLS]
    lengths = torch.randint(8, 20, (900,), generator=generator)
    good = torch.rand(900, 20, generator=generator) < torch.rand(900, 1, generator=generator)
    words = torch.randint(2, 22, (900, 20), generator=generator)       # 2-21 good words, 22-41 bad ones
    tokens = torch.where(good, words, words + 20)
    tokens[:, 0] = 1
    tokens = tokens * (torch.arange(20) < lengths[:, None])
    share = ((tokens > 1) & (tokens < 22)).sum(dim=1) / (lengths - 1)
    y = (share > 0.35).long() + (share > 0.65).long()
    return (tokens[:700], y[:700]), (tokens[700:], y[700:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}")
    net.eval()
    with torch.no_grad():
        for length in (20, 60):
            padded = nn.functional.pad(test_x, (0, length - 20))
            accuracy = (net(padded).argmax(dim=1) == test_y).float().mean()
            print(f"test accuracy with texts padded to {length}: {accuracy:.3f}")


if __name__ == "__main__":
    main()
