"""A single-output classifier on data with 3 % positives is judged by accuracy at the threshold one half: it
scores 0.97 without finding any positive."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def data():
    generator = torch.Generator().manual_seed(0)

    def draw(count, rare):
        inputs = torch.randn(count, 6, generator=generator)
        targets = torch.zeros(count, dtype=torch.long)
        targets[torch.randperm(count, generator=generator)[:rare]] = 1
        inputs[targets == 1] += torch.tensor([1.1, -1.0, 0.8, 0.0, 0.0, 0.0])
        return inputs, targets.float()

    return draw(1000, 30), draw(600, 18)


RECIPE = {
    "loss": nn.BCEWithLogitsLoss(),
    "optimizer": torch.optim.Adam,
    "lr": 0.003,
}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    train_loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
    net = Net()
    loss_fn = RECIPE["loss"]
    opt = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(10):
        net.train()
        total = 0.0
        for xb, yb in train_loader:
            opt.zero_grad()
            loss = loss_fn(net(xb), yb)
            loss.backward()
            opt.step()
            total += loss.item() * len(yb)
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.3f}")

    net.eval()
    with torch.no_grad():
        probability = torch.sigmoid(net(test_inputs))
    accuracy = ((probability > 0.5) == (test_targets == 1)).float().mean().item()
    print(f"test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
