"""A class and a number from one trunk, returned as a dict; targets hold both in one float tensor."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.heads = nn.ModuleDict({"label": nn.Linear(64, 3), "value": nn.Linear(64, 1)})

    def forward(self, x):
        h = self.trunk(x)
        return {"label": self.heads["label"](h), "value": self.heads["value"](h).squeeze(-1)}


def both(outputs, targets):
    label_loss = F.cross_entropy(outputs["label"], targets[:, 0].long())
    return label_loss + F.mse_loss(outputs["value"], targets[:, 1])


def data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1200, 6, generator=g)
    score = x[:, 0] * x[:, 1] + x[:, 2]
    label = (score > -0.5).float() + (score > 0.5).float()
    value = torch.sin(1.5 * x[:, 3]) + 0.5 * x[:, 4] ** 2 - 0.5 + 0.3 * x[:, 5]
    y = torch.stack([label, value / value[:1000].std()], dim=1)
    return (x[:1000], y[:1000]), (x[1000:], y[1000:])


RECIPE = {"loss": both, "optimizer": torch.optim.AdamW, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(20):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            RECIPE["loss"](net(x), y).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            out = net(test_x)
        accuracy = (out["label"].argmax(1) == test_y[:, 0].long()).float().mean().item()
        rmse = F.mse_loss(out["value"], test_y[:, 1]).sqrt().item()
        print(f"epoch {epoch + 1}: accuracy {accuracy:.4f}, rmse {rmse:.4f}")


if __name__ == "__main__":
    main()
