"""MobileNet v2 in small: inverted residuals whose projection is linear on purpose (ReLU6 elsewhere)."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand_ratio):
        super().__init__()
        hidden = round(inp * expand_ratio)
        self.identity = stride == 1 and inp == oup
        self.conv = nn.Sequential(
            nn.Conv2d(inp, hidden, 1, bias=False),  # expand
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),  # depthwise
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, oup, 1, bias=False),  # project: no activation, the linear bottleneck
            nn.BatchNorm2d(oup),
        )

    def forward(self, x):
        return x + self.conv(x) if self.identity else self.conv(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True),
            InvertedResidual(16, 12, 1, 2),
            InvertedResidual(12, 12, 1, 3),
            InvertedResidual(12, 16, 2, 3),
            nn.Conv2d(16, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6(inplace=True),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x):
        x = self.features(x)
        x = x.mean([2, 3])
        return self.classifier(x)


def data():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])

RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.AdamW, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    train, test = data()
    train_loader = DataLoader(TensorDataset(*train), batch_size=48, shuffle=True)
    test_loader = DataLoader(TensorDataset(*test), batch_size=256)
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(3):
        net.train()
        for inputs, labels in train_loader:
            loss = RECIPE["loss"](net(inputs), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        net.eval()
        loss_sum, correct, count = 0.0, 0, 0
        with torch.no_grad():
            for inputs, labels in test_loader:
                outputs = net(inputs)
                loss_sum += RECIPE["loss"](outputs, labels).item() * labels.size(0)
                correct += (outputs.argmax(1) == labels).sum().item()
                count += labels.size(0)
        print("Epoch %d  test loss %.4f  accuracy %.2f%%" % (epoch, loss_sum / count, 100 * correct / count))


if __name__ == "__main__":
    main()
