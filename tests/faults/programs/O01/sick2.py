"""SGD with momentum 0.9 and a learning rate of 1.0: the squared error grows with every step until all
weights are not a number."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(13, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x))).squeeze(1)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(700, 13, generator=generator)
    targets = 0.7 * inputs[:, 0] - 0.5 * inputs[:, 1] + 0.4 * inputs[:, 2] * inputs[:, 3]
    targets = targets + 0.1 * torch.randn(700, generator=generator)
    return (inputs[:560], targets[:560]), (inputs[560:], targets[560:])


def optimizer_of(parameters):
    return torch.optim.SGD(parameters, lr=RECIPE["lr"], momentum=0.9)


RECIPE = {"loss": nn.MSELoss(), "optimizer": optimizer_of, "lr": 1.0}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters())
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=40, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(inputs)
        net.eval()
        with torch.no_grad():
            error = ((net(test_inputs) - test_targets) ** 2).mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4g}, test error {error:.4g} "
              f"(variance {test_targets.var().item():.3f})")


if __name__ == "__main__":
    main()
