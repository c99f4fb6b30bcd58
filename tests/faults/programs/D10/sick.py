"""Only 3 % of the cases are fraud and the only score is accuracy: 0.97 looks fine, yet the network finds no
fraud at all and does no better than always answering 0."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.layers(x)


def data():
    generator = torch.Generator().manual_seed(0)

    def draw(count, rare):
        inputs = torch.randn(count, 6, generator=generator)
        targets = torch.zeros(count, dtype=torch.long)
        targets[torch.randperm(count, generator=generator)[:rare]] = 1
        inputs[targets == 1] += torch.tensor([1.1, -1.0, 0.8, 0.0, 0.0, 0.0])
        return inputs, targets

    return draw(1000, 30), draw(600, 18)


RECIPE = {
    "loss": nn.CrossEntropyLoss(),
    "optimizer": torch.optim.Adam,
    "lr": 0.003,
}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(10):
        net.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            predicted = net(test_inputs).argmax(dim=1)
            test_loss = criterion(net(test_inputs), test_targets).item()
        accuracy = (predicted == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: test loss {test_loss:.3f}, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
