"""Each picture goes through the encoder."""
from sklearn.datasets import load_digits
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        self.head = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, left, right):
        a = self.encoder(left)
        b = self.encoder(right)
        return self.head(torch.cat([a, b, a * b], dim=1))


def data():
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    images = (torch.tensor(digits.images, dtype=torch.float32) / 16 - 0.3) / 0.4
    labels = torch.tensor(digits.target)
    keep = labels < 4
    images, labels = images[keep], labels[keep]
    order = torch.randperm(len(labels), generator=generator)
    splits = []
    for part, count in ((order[:500], 1600), (order[500:], 400)):
        pick = torch.randperm(len(part) ** 2, generator=generator)[: 3 * count]
        left, right = part[pick // len(part)], part[pick % len(part)]
        same = labels[left] == labels[right]
        pairs = torch.cat([torch.where(same)[0][: count // 2], torch.where(~same)[0][: count // 2]])
        pairs = pairs[torch.randperm(len(pairs), generator=generator)]
        splits.append(({"left": images[left[pairs]], "right": images[right[pairs]]}, same[pairs].long()))
    return splits[0], splits[1]


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train, train_targets), (test, test_targets) = data()
    train_set = TensorDataset(train["left"], train["right"], train_targets)
    loader = DataLoader(train_set, batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(5):
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
            accuracy = (outputs.argmax(1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_set):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
