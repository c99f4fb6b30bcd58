"""One input column, the days until the account was closed, is only known once the customer has left: it
gives the answer away, the test accuracy is 1.000 and the model is worthless for customers of today."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x):
        return self.layers(x)


def data():
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(840, 5, generator=generator)
    score = columns[:, 0] - columns[:, 1] + columns[:, 2] * columns[:, 3]
    score += 0.7 * torch.randn(840, generator=generator)
    targets = (score > 0.3).long()
    closed_at = torch.where(targets == 1, 40 + 12 * torch.randn(840, generator=generator), 365.0)
    table = torch.cat([columns, closed_at.unsqueeze(1)], dim=1)
    inputs = table
    mean, std = inputs[:640].mean(dim=0), inputs[:640].std(dim=0)
    inputs = (inputs - mean) / std
    return (inputs[:640], targets[:640]), (inputs[640:], targets[640:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(10):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_inputs).argmax(dim=1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
