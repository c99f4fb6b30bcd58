"""The hidden layer is normalised by the mean and deviation of the current batch, also at test time: a
sample's answer depends on which others come with it, and a sample that comes alone is wiped out."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(6, 64)
        self.hidden2 = nn.Linear(64, 32)
        self.output = nn.Linear(32, 4)

    def forward(self, x):
        x = self.hidden1(x)
        x = (x - x.mean(dim=0)) / (x.std(dim=0, unbiased=False) + 1e-5)
        x = torch.relu(x)
        x = torch.relu(self.hidden2(x))
        return self.output(x)


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(900, 6, generator=generator)
    radius = x[:, :2].norm(dim=1) + 0.1 * x[:, 4]
    y = (radius > radius.median()).long() + 2 * (x[:, 2] + x[:, 3].square() > 0.9).long()
    return (x[:700], y[:700]), (x[700:], y[700:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=35, shuffle=True)
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
            print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}")
    net.eval()
    with torch.no_grad():
        together = net(test_x).argmax(dim=1)
        single = torch.cat([net(x[None]).argmax(dim=1) for x in test_x])
    print(f"test accuracy {(together == test_y).float().mean():.3f}, "
          f"one sample at a time {(single == test_y).float().mean():.3f}")


if __name__ == "__main__":
    main()
