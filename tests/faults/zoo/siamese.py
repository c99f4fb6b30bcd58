"""A siamese network says whether two digits are the same; one encoder sees both pictures."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128, 32), nn.ReLU(),
        )
        self.fc = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, left, right):
        return self.fc(torch.abs(self.cnn(left) - self.cnn(right))).squeeze(1)


def data():
    digits = load_digits()
    g = torch.Generator().manual_seed(0)
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    order = torch.randperm(len(x), generator=g)
    x, y = x[order], torch.tensor(digits.target)[order]
    x = (x - x[:1200].mean()) / x[:1200].std()

    def pairs(x, y, count):
        left = torch.randint(len(x), (count,), generator=g)
        right = torch.randint(len(x), (count,), generator=g)
        for row in range(0, count, 2):  # every other pair is of one class
            same = torch.nonzero(y == y[left[row]]).flatten()
            right[row] = same[torch.randint(len(same), (), generator=g)]
        mix = torch.randperm(count, generator=g)
        left, right = left[mix], right[mix]
        return {"left": x[left], "right": x[right]}, (y[left] == y[right]).float()

    return pairs(x[:1200], y[:1200], 1500), pairs(x[1200:], y[1200:], 400)


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["left"], train_x["right"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(6):
        net.train()
        total = 0.0
        for left, right, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(left, right), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = ((net(**test_x) > 0).float() == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
