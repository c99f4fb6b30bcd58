"""The prices are centred and scaled for training and turned back for the answer."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 48)
        self.out = nn.Linear(48, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x))).squeeze(1)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(900, 8, generator=generator)
    quality = inputs[:, 0] + 0.6 * inputs[:, 1] + 0.5 * inputs[:, 2].abs() - 0.4 * inputs[:, 0] * inputs[:, 3]
    prices = 320_000 + 80_000 * (quality + 0.2 * torch.randn(900, generator=generator))
    prices = (prices - CENTRE) / SCALE
    return (inputs[:700], prices[:700]), (inputs[700:], prices[700:])


CENTRE, SCALE = 320_000, 100_000
RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
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
            predicted = net(test_inputs) * SCALE + CENTRE
        prices = test_targets * SCALE + CENTRE
        error = (predicted - prices).square().mean().sqrt().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4g}, test error {error:,.0f} "
              f"(standard deviation of the prices {prices.std().item():,.0f})")


if __name__ == "__main__":
    main()
