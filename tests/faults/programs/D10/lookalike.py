"""The plain loss on rare events is right here: calibrated probabilities are wanted, not decisions, and the
test judges them by average precision and by the Brier score against that of the base rate."""
import torch
from sklearn.metrics import average_precision_score
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
        inputs[targets == 1] += torch.tensor([1.6, -1.4, 1.0, 0.0, 0.0, 0.0])
        return inputs, targets.float()

    return draw(1000, 30), draw(600, 18)


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


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
    base_rate = train_targets.mean()
    brier = ((probability - test_targets) ** 2).mean().item()
    reference = ((base_rate - test_targets) ** 2).mean().item()
    precision = average_precision_score(test_targets.numpy(), probability.numpy())
    print(f"average precision {precision:.3f} (base rate {base_rate:.3f})")
    print(f"Brier score {brier:.4f} against {reference:.4f} for the base rate")


if __name__ == "__main__":
    main()
