"""forward ends in a sigmoid and BCEWithLogitsLoss applies another one: the probability it sees lies
between .5 and .731, so the loss of a negative sample cannot fall below .693."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(2, 32)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        return torch.sigmoid(self.fc2(x)).squeeze(1)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 2, generator=generator)
    radius = inputs.norm(dim=1) + 0.1 * torch.randn(800, generator=generator)
    targets = (radius > 1.18).float()
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(10):
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
            accuracy = ((outputs > 0.5).float() == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
