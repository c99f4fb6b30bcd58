"""MobileNet v1 in small: depthwise and pointwise convolutions, each with BatchNorm and ReLU."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def conv_bn(inp, oup, stride):
    return nn.Sequential(
        nn.Conv2d(inp, oup, 3, stride, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU(inplace=True)
    )


def conv_dw(inp, oup, stride):
    return nn.Sequential(
        nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False),
        nn.BatchNorm2d(inp),
        nn.ReLU(inplace=True),
        nn.Conv2d(inp, oup, 1, 1, 0, bias=False),
        nn.BatchNorm2d(oup),
        nn.ReLU(inplace=True),
    )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            conv_bn(1, 16, 1), conv_dw(16, 32, 1), conv_dw(32, 64, 2), conv_dw(64, 64, 1), nn.AvgPool2d(4)
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.model(x)
        x = x.view(-1, 64)
        return self.fc(x)


def data():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True)
    for epoch in range(3):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            correct = (model(test_x).argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, accuracy {correct / len(test_x):.4f}")


if __name__ == "__main__":
    main()
