"""Wide and deep: a linear part on the crossed feature, a deep part on embeddings and numbers, one logit."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, users=12, items=10, dim=8):
        super().__init__()
        self.items = items
        self.wide = nn.Embedding(users * items, 1)  # one weight for every crossed user and item
        nn.init.zeros_(self.wide.weight)
        self.user = nn.Embedding(users, dim)
        self.item = nn.Embedding(items, dim)
        self.deep = nn.Sequential(
            nn.Linear(2 * dim + 3, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)
        )

    def forward(self, user, item, numbers):
        wide = self.wide(user * self.items + item)
        deep = self.deep(torch.cat([self.user(user), self.item(item), numbers], dim=1))
        return (wide + deep).squeeze(-1)


def data():
    g = torch.Generator().manual_seed(0)
    n = 2000
    user = torch.randint(12, (n,), generator=g)
    item = torch.randint(10, (n,), generator=g)
    numbers = torch.randn(n, 3, generator=g)
    taste, kind = torch.randn(12, 2, generator=g), torch.randn(10, 2, generator=g)
    logit = 2 * (taste[user] * kind[item]).sum(1) + 1.5 * numbers[:, 0] - numbers[:, 1] * numbers[:, 2]
    y = (torch.rand(n, generator=g) < torch.sigmoid(2 * logit)).float()
    cut = 1600
    train = {"user": user[:cut], "item": item[:cut], "numbers": numbers[:cut]}
    test = {"user": user[cut:], "item": item[cut:], "numbers": numbers[cut:]}
    return (train, y[:cut]), (test, y[cut:])


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["user"], train_x["item"], train_x["numbers"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for user, item, numbers, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(user, item, numbers), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = ((net(**test_x) > 0).float() == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
