"""Adam with a learning rate of 0.3, a hundred times too high: the first steps throw the weights away, the
loss jumps far above that of guessing and the network never learns much more than that."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 32), nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, x):
        return self.body(x)


def data():
    digits = load_digits()
    inputs = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    targets = torch.tensor(digits.target)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    inputs, targets = inputs[order], targets[order]
    return (inputs[:1400], targets[:1400]), (inputs[1400:], targets[1400:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.3}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
    for epoch in range(6):
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
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
