"""The NaN cells are replaced by the mean of the measured values of the training rows."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, x):
        return self.layers(x)


def read_table():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(840, 8, generator=generator)
    score = inputs[:, 0] + inputs[:, 1] - inputs[:, 2] + inputs[:, 5]
    targets = (score > -0.9).long() + (score > 0.9).long()
    missing = torch.rand(840, 8, generator=generator) < torch.tensor([0, 0.01, 0, 0, 0.01, 0.01, 0, 0])
    inputs[missing] = float("nan")
    return inputs, targets


def data():
    inputs, targets = read_table()
    mean = inputs[:640].nanmean(dim=0)
    inputs = torch.where(inputs.isnan(), mean, inputs)
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
