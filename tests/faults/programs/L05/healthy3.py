"""BCEWithLogitsLoss decides about each tag by itself."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 5))

    def forward(self, x):
        return self.layers(x)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 8, generator=generator)
    rules = torch.randn(8, 5, generator=generator)
    targets = (torch.tanh(inputs) @ rules > 0).float()  # any number of the five tags
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


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
            accuracy = ((outputs > 0).float() == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
