"""The auxiliary head is called only while training, where its loss helps the lower layers (as in
GoogLeNet). In eval mode it is unused by design."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(12, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(64, 10)
        self.auxiliary = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(108, 10))

    def forward(self, x):
        x = self.stem(x)
        outputs = self.head(self.body(x))
        if self.training:
            return outputs, self.auxiliary(x)
        return outputs


def data():
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8)
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:800], order[800:1100]
    mean, std = x[train].mean(), x[train].std()
    return ((x[train] - mean) / std, y[train]), ((x[test] - mean) / std, y[test])


def loss_function(outputs, targets):
    if isinstance(outputs, tuple):
        outputs, auxiliary = outputs
        extra = nn.functional.cross_entropy(auxiliary, targets)
        return nn.functional.cross_entropy(outputs, targets) + 0.3 * extra
    return nn.functional.cross_entropy(outputs, targets)


RECIPE = {"loss": loss_function, "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(8):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_function(net(x), y)
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
