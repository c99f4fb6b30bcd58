"""A tabular network: embeddings for the categories, BatchNorm on the numbers, an MLP on both."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, cardinalities=(6, 10, 4), n_numbers=5, classes=3):
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(c, min(8, (c + 1) // 2)) for c in cardinalities])
        n_emb = sum(e.embedding_dim for e in self.embeds)
        self.bn_numbers = nn.BatchNorm1d(n_numbers)
        self.layers = nn.Sequential(
            nn.Linear(n_emb + n_numbers, 64), nn.ReLU(inplace=True), nn.BatchNorm1d(64), nn.Dropout(0.1),
            nn.Linear(64, 32), nn.ReLU(inplace=True), nn.BatchNorm1d(32), nn.Linear(32, classes),
        )

    def forward(self, categories, numbers):
        x = [e(categories[:, i]) for i, e in enumerate(self.embeds)]
        x = torch.cat([*x, self.bn_numbers(numbers)], dim=1)
        return self.layers(x)


def data():
    g = torch.Generator().manual_seed(0)
    n = 1500
    categories = torch.stack([torch.randint(c, (n,), generator=g) for c in (6, 10, 4)], dim=1)
    numbers = torch.randn(n, 5, generator=g)
    effects = [torch.randn(c, generator=g) for c in (6, 10, 4)]
    score = sum(effect[categories[:, i]] for i, effect in enumerate(effects))
    score += numbers[:, 0] + 0.7 * numbers[:, 1] * numbers[:, 2] + 0.5 * (numbers[:, 3] - numbers[:, 4])
    y = torch.bucketize(score, torch.quantile(score[:1200], torch.tensor([1 / 3, 2 / 3])))
    return (({"categories": categories[:1200], "numbers": numbers[:1200]}, y[:1200]),
            ({"categories": categories[1200:], "numbers": numbers[1200:]}, y[1200:]))


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.AdamW, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["categories"], train_x["numbers"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(12):
        net.train()
        total = 0.0
        for categories, numbers, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(categories, numbers), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = (net(**test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
