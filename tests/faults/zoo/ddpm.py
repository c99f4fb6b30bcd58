"""A diffusion model on points: from a noisy point and its time step the network predicts the noise."""
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 50
ALPHAS_BAR = torch.cumprod(1 - torch.linspace(1e-4, 0.15, STEPS), dim=0)


class Net(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.time = nn.Sequential(nn.Embedding(STEPS, hidden), nn.Linear(hidden, hidden), nn.SiLU())
        self.inp = nn.Linear(2, hidden)
        self.mid = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 2)
        self.act = nn.SiLU()

    def forward(self, x, t):
        h = self.act(self.inp(x) + self.time(t))
        h = self.act(self.mid(h)) + h
        return self.out(h)


def data():
    g = torch.Generator().manual_seed(0)
    clean = torch.tensor(make_moons(2000, noise=0.04, random_state=0)[0], dtype=torch.float32)
    clean = (clean - clean[:1600].mean(0)) / clean[:1600].std(0)
    t = torch.randint(STEPS, (2000,), generator=g)
    noise = torch.randn(2000, 2, generator=g)
    a = ALPHAS_BAR[t].unsqueeze(1)
    noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
    return (({"x": noisy[:1600], "t": t[:1600]}, noise[:1600]),
            ({"x": noisy[1600:], "t": t[1600:]}, noise[1600:]))


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 3e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    train_set = TensorDataset(train_x["x"], train_x["t"], train_y)
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    for epoch in range(15):
        net.train()
        total = 0.0
        for x, t, targets in loader:
            optimizer.zero_grad()
            loss = RECIPE["loss"](net(x, t), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            test_loss = RECIPE["loss"](net(**test_x), test_y).item()
        print(f"epoch {epoch + 1}: loss {total / len(train_set):.4f}, test {test_loss:.4f}")


if __name__ == "__main__":
    main()
