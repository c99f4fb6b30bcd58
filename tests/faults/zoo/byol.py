"""BYOL in one module: the target is a frozen copy, moved by an EMA after each step; a detached probe."""
import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def mlp(dim, hidden, out):
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.LayerNorm(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)
    )


class Net(nn.Module):
    def __init__(self, moving_average_decay=0.99):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.projector = mlp(32, 32, 16)
        self.predictor = mlp(16, 32, 16)
        self.target = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)
        self.probe = nn.Linear(32, 10)  # learns from the labels, its input is detached: the encoder does not
        self.decay = moving_average_decay

    @torch.no_grad()
    def update_target(self):
        online = nn.Sequential(self.encoder, self.projector)
        for old, new in zip(self.target.parameters(), online.parameters()):
            old.lerp_(new, 1 - self.decay)

    def forward(self, one, two):
        h1, h2 = self.encoder(one), self.encoder(two)
        p1, p2 = self.predictor(self.projector(h1)), self.predictor(self.projector(h2))
        with torch.no_grad():
            z1, z2 = self.target(one), self.target(two)
        return p1, p2, z1.detach(), z2.detach(), self.probe(h1.detach())


def byol_loss(outputs, labels):
    p1, p2, z1, z2, logits = outputs
    distance = 4 - 2 * F.cosine_similarity(p1, z2) - 2 * F.cosine_similarity(p2, z1)
    return distance.mean() + F.cross_entropy(logits, labels)


def data():
    """Two noisy views of each digit."""
    digits = load_digits()
    g = torch.Generator().manual_seed(0)
    x, y = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=g)
    x, y = x[order], y[order]
    x = (x - x[:1200].mean()) / x[:1200].std()
    views = [x + 0.3 * torch.randn(x.shape, generator=g) for _ in range(2)]
    return (({"one": views[0][:1200], "two": views[1][:1200]}, y[:1200]),
            ({"one": views[0][1200:], "two": views[1][1200:]}, y[1200:]))


RECIPE = {"loss": byol_loss, "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"]([p for p in net.parameters() if p.requires_grad], lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["one"], train_x["two"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(8):
        net.train()
        total = 0.0
        for one, two, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(one, two), targets)
            loss.backward()
            optimizer.step()
            net.update_target()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            correct = (net(**test_x)[-1].argmax(dim=1) == test_y).sum().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, accuracy {correct / len(test_y):.4f}")


if __name__ == "__main__":
    main()
