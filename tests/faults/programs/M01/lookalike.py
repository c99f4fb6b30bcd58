"""nn.LogSoftmax() without dim looks like a fault, but these outputs are 2-D (batch, class), where PyTorch
picks axis 1: the right one. Outdated style (a deprecation warning), correct numbers."""
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3), nn.LogSoftmax())

    def forward(self, x):
        return self.layers(x)


def data():
    columns, labels = load_wine(return_X_y=True)
    x = torch.tensor(columns, dtype=torch.float32)
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:128], order[128:]
    mean, std = x[train].mean(dim=0), x[train].std(dim=0)
    return ((x[train] - mean) / std, y[train]), ((x[test] - mean) / std, y[test])


RECIPE = {"loss": nn.NLLLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    loss_fn = nn.NLLLoss()
    opt = torch.optim.Adam(net.parameters(), lr=0.005)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=16, shuffle=True)
    for epoch in range(15):
        net.train()
        for x, y in loader:
            opt.zero_grad()
            loss_fn(net(x), y).backward()
            opt.step()
        if (epoch + 1) % 5 == 0:
            net.eval()
            with torch.no_grad():
                train_loss = loss_fn(net(train_x), train_y)
                accuracy = (net(test_x).argmax(dim=1) == test_y).float().mean()
            print(f"epoch {epoch + 1}: train loss {train_loss:.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
