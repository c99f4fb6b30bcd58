"""The softmax is applied between network and loss: cross_entropy receives probabilities instead of logits,
so the loss cannot fall below 1.461 and learning is slow."""
from sklearn.datasets import load_digits
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(x.flatten(1))


def compute_loss(logits, targets):
    probabilities = F.softmax(logits, dim=1)
    return F.cross_entropy(probabilities, targets)


def data():
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    inputs = (torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16 - 0.3) / 0.4
    inputs, targets = inputs[order], torch.tensor(digits.target)[order]
    return (inputs[:1200], targets[:1200]), (inputs[1200:], targets[1200:])


RECIPE = {"loss": compute_loss, "optimizer": torch.optim.Adam, "lr": 0.003}


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
        correct += (outputs.argmax(1) == targets).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_set, test_set = [TensorDataset(*split) for split in data()]
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=100)
    model = Net()
    opt = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    for epoch in range(5):
        loss = train_one_epoch(model, train_loader, RECIPE["loss"], opt)
        print(f"epoch {epoch + 1}: train loss {loss:.4f}, test accuracy {evaluate(model, test_loader):.4f}")


if __name__ == "__main__":
    main()
