"""The edge filters hide in a plain list on purpose: they are fixed by hand and frozen, no optimizer
should see them and no checkpoint needs to hold them."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def edge_filters():
    row = torch.tensor([1.0, 2.0, 1.0])
    slope = torch.tensor([-1.0, 0.0, 1.0])
    filters = nn.Conv2d(1, 4, 3, padding=1, bias=False)
    kernels = torch.stack([torch.outer(row, slope), torch.outer(slope, row), torch.outer(slope, slope),
                           torch.outer(row, row) / 2])
    filters.weight = nn.Parameter(kernels.unsqueeze(1) / 4, requires_grad=False)
    return filters.eval()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fixed = [edge_filters()]
        self.layers = nn.Sequential(nn.Linear(4 * 16, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, images):
        edges = self.fixed[0](images).abs()
        return self.layers(nn.functional.avg_pool2d(edges, 2).flatten(1))


def data():
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8)
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:800], order[800:1100]
    mean, std = x[train].mean(), x[train].std()
    return ((x[train] - mean) / std, y[train]), ((x[test] - mean) / std, y[test])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(10):
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
