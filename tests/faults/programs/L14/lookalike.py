"""Counts with a mean near 50 and a wide spread need no scaling here: the Poisson loss with a logarithmic
link has the model tell the logarithm of the rate, which is a small number."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 48)
        self.out = nn.Linear(48, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x))).squeeze(1)      # the logarithm of the rate


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(900, 8, generator=generator)
    rates = torch.exp(3.6 + 0.5 * inputs[:, 0] - 0.4 * inputs[:, 1] + 0.3 * inputs[:, 2] * inputs[:, 3])
    counts = torch.poisson(rates, generator=generator)
    return (inputs[:700], counts[:700]), (inputs[700:], counts[700:])


RECIPE = {"loss": nn.PoissonNLLLoss(log_input=True), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
    for epoch in range(20):
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
            rates = net(test_inputs).exp()
        explained = 1 - ((rates - test_targets).square().mean() / test_targets.var()).item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.3f}, test R2 {explained:.3f}")


if __name__ == "__main__":
    main()
