"""The loss of each sample has the shape (N,) and the weights of the samples (N, 1): the product has N x N
entries, so each loss is multiplied by the mean weight and the rare class gets no more weight than the
others."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


CLASS_WEIGHTS = torch.tensor([0.5, 5.0])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.layers(x)


def weighted_loss(outputs, targets):
    losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
    weights = CLASS_WEIGHTS[targets].unsqueeze(1)
    return (losses * weights).mean()


def data():
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(1000, generator=generator) < 0.1).long()
    inputs = torch.randn(1000, 6, generator=generator)
    inputs[:, :2] += 1.2 * targets[:, None]
    return (inputs[:700], targets[:700]), (inputs[700:], targets[700:])


RECIPE = {"loss": weighted_loss, "optimizer": torch.optim.Adam, "lr": 0.005}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(8):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            outputs = net(test_inputs)
            found = [(outputs.argmax(1)[test_targets == c] == c).float().mean() for c in (0, 1)]
            balanced = torch.stack(found).mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.4f}, test balanced {balanced:.4f}")


if __name__ == "__main__":
    main()
