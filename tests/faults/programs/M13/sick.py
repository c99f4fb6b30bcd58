"""A copied line looks the items up in the users' table: self.items is never used and gets no gradient,
and an item has to share its vector with the user of the same number."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Predicts how much a user likes an item from a vector for each."""

    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(40, 4)
        self.items = nn.Embedding(30, 4)
        nn.init.normal_(self.users.weight, std=0.6)
        nn.init.normal_(self.items.weight, std=0.6)

    def forward(self, pairs):
        user = self.users(pairs[:, 0])
        item = self.users(pairs[:, 1])
        return (user * item).sum(dim=1)


def data():
    generator = torch.Generator().manual_seed(0)
    taste = torch.randn(40, 3, generator=generator) @ torch.randn(3, 30, generator=generator) / 3 ** 0.5
    cells = torch.randperm(1200, generator=generator)
    pairs = torch.stack([cells // 30, cells % 30], dim=1)
    y = taste[pairs[:, 0], pairs[:, 1]] + 0.2 * torch.randn(1200, generator=generator)
    y = (y - y[:1000].mean()) / y[:1000].std()
    return (pairs[:1000], y[:1000]), (pairs[1000:], y[1000:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=25, shuffle=True)
    for epoch in range(25):
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
                test_loss = criterion(net(test_x), test_y)
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test loss {test_loss:.3f}")


if __name__ == "__main__":
    main()
