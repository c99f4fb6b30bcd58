"""Several yes-or-no labels per image: a linear head with one logit each and BCEWithLogitsLoss."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, num_labels=4):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128, 48), nn.ReLU(), nn.Linear(48, num_labels),
        )

    def forward(self, x):
        return self.net(x)

    @torch.no_grad()
    def predict_proba(self, x):
        return torch.sigmoid(self(x))


def data():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    d = torch.tensor(digits.target)
    primes, loops = torch.tensor([2, 3, 5, 7]), torch.tensor([0, 4, 6, 8, 9])
    y = torch.stack([d % 2 == 0, d > 4, torch.isin(d, primes), torch.isin(d, loops)], dim=1).float()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]
    x = (x - x[train].mean()) / x[train].std()
    return (x[train], y[train]), (x[test], y[test])


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(6):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        net.eval()
        hits = ((net.predict_proba(test_x) > 0.5).float() == test_y).float().mean(dim=0)
        hits = ", ".join(f"{h:.3f}" for h in hits)
        print(f"epoch {epoch + 1}: loss {total / len(train_x):.4f}, accuracies {hits}")


if __name__ == "__main__":
    main()
