"""The objective is the log-likelihood, always negative, and the optimiser maximises it: two signs that
belong together, the same training as with cross-entropy."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 48)
        self.out = nn.Linear(48, 10)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def data():
    digits = load_digits()
    inputs = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    targets = torch.tensor(digits.target)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    inputs, targets = inputs[order], targets[order]
    return (inputs[:1400], targets[:1400]), (inputs[1400:], targets[1400:])


def log_likelihood(outputs, targets):
    return -F.cross_entropy(outputs, targets)


def optimizer_of(parameters):
    return torch.optim.Adam(parameters, lr=0.003, maximize=True)


RECIPE = {"loss": log_likelihood, "optimizer": optimizer_of, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters())
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
    for epoch in range(8):
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
            accuracy = (net(test_inputs).argmax(dim=1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: objective {total / len(train_inputs):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
