"""The network returns logits to the focal loss."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(2, 32)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        return self.fc2(x).squeeze(1)


def focal_loss(logits, targets, alpha=0.5, gamma=2.0):
    bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    pt = torch.exp(-bce)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * (1 - pt) ** gamma * bce).mean()


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 2, generator=generator)
    radius = inputs.norm(dim=1) + 0.1 * torch.randn(800, generator=generator)
    targets = (radius > 1.5).float()
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": focal_loss, "optimizer": torch.optim.Adam, "lr": 0.01}


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
        correct += ((outputs > 0).float() == targets).sum().item()
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
