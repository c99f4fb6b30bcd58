"""log_softmax is taken over dim=0, the batch: the ten scores of an image are no distribution, the loss
compares the images of a batch with each other, and an image that comes alone always gets log-probability
0 for every class."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 48)
        self.output = nn.Linear(48, 10)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        return F.log_softmax(self.output(x), dim=0)


def data():
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32)
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:800], order[800:1100]
    mean, std = x[train].mean(), x[train].std()
    return ((x[train] - mean) / std, y[train]), ((x[test] - mean) / std, y[test])


RECIPE = {"loss": nn.NLLLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    criterion = nn.NLLLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True)
    for epoch in range(8):
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
        together = net(test_x).argmax(dim=1)
        single = torch.cat([net(x[None]).argmax(dim=1) for x in test_x])
    print(f"test accuracy {(together == test_y).float().mean():.3f}, "
          f"one image at a time {(single == test_y).float().mean():.3f}")


if __name__ == "__main__":
    main()
