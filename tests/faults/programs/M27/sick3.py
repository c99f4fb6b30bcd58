"""The cross-entropy is written out with log(p) and log(1 - p): for a large input the sigmoid is exactly 0
or 1 in float32, 0 * log(0) is NaN, and all weights become NaN."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.fc2 = nn.Linear(64, 1)

    def forward(self, x):
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(x)))).squeeze(1)


def cross_entropy(p, target):
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 8, generator=generator)
    inputs = inputs * torch.exp(0.9 * torch.randn(800, 1, generator=generator)) / 1.5
    score = inputs[:, 0] - 0.8 * inputs[:, 1] + 0.6 * inputs[:, 2] * torch.tanh(inputs[:, 3])
    targets = (score > 0).float()
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": cross_entropy, "optimizer": torch.optim.Adam, "lr": 0.01}


def train_one_epoch(model, loader, loss_fn, opt):
    model.train()
    running = 0.0
    for x, y in loader:
        loss = loss_fn(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        running += loss.item() * len(x)
    return running / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    correct = 0
    for x, targets in loader:
        outputs = model(x)
        correct += ((outputs > 0.5).float() == targets).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_set, test_set = [TensorDataset(*split) for split in data()]
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=100)
    model = Net()
    opt = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    for epoch in range(10):
        loss = train_one_epoch(model, train_loader, RECIPE["loss"], opt)
        print(f"epoch {epoch + 1}: train loss {loss:.4f}, test accuracy {evaluate(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
