"""One BatchNorm layer is used after two different layers: in training each use has its own batch
statistics, but the running statistics are a mixture that fits neither, so the network fails in eval
mode."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 64, bias=False)
        self.bn = nn.BatchNorm1d(64)
        self.fc2 = nn.Linear(64, 64, bias=False)
        self.out = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.bn(self.fc1(x)))
        x = torch.relu(self.bn(self.fc2(x)))
        return self.out(x)


def data():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(8, 12, generator=generator)
    cluster = torch.randint(0, 8, (800,), generator=generator)
    inputs = centres[cluster] + 0.8 * torch.randn(800, 12, generator=generator)
    targets = cluster % 4
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.005}


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
            test_loss = criterion(outputs, test_targets).item()
            accuracy = (outputs.argmax(1) == test_targets).float().mean().item()
        train_loss = total / len(train_targets)
        print(f"epoch {epoch + 1}: loss {train_loss:.4f}, test loss {test_loss:.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
