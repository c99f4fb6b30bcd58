"""A small constant under the square root keeps the gradient finite."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, left, right):
        difference = self.encoder(left) - self.encoder(right)
        return torch.sqrt((difference ** 2).sum(dim=1) + 1e-6)


def contrastive_loss(distance, different):
    close = (1 - different) * distance ** 2
    far = different * torch.relu(2 - distance) ** 2
    return (close + far).mean()


def data():
    generator = torch.Generator().manual_seed(0)
    centres = 1.5 * torch.randn(40, 8, generator=generator)
    first = torch.randint(0, 40, (800,), generator=generator)
    other = torch.randint(0, 40, (800,), generator=generator)
    same = torch.rand(800, generator=generator) < 0.5
    second = torch.where(same, first, other)
    left = centres[first] + 0.3 * torch.randn(800, 8, generator=generator)
    right = centres[second] + 0.3 * torch.randn(800, 8, generator=generator)
    targets = (first != second).float()
    right[[40, 240, 440]] = left[[40, 240, 440]]  # a few measurements were entered twice
    targets[[40, 240, 440]] = 0.0
    train = {"left": left[:600], "right": right[:600]}
    test = {"left": left[600:], "right": right[600:]}
    return (train, targets[:600]), (test, targets[600:])


RECIPE = {"loss": contrastive_loss, "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train, train_targets), (test, test_targets) = data()
    train_set = TensorDataset(train["left"], train["right"], train_targets)
    loader = DataLoader(train_set, batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(8):
        net.train()
        total = 0.0
        for left, right, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(left, right), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            outputs = net(test["left"], test["right"])
            accuracy = ((outputs > 1).float() == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_set):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
