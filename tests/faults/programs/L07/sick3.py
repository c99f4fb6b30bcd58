"""The labels are coded -1 and +1 as for a support vector machine, but binary cross-entropy wants 0 and 1:
the loss goes far below zero and nearly every sample ends on the negative side."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(12, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x))).squeeze(1)


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 12, generator=generator)
    score = inputs[:, 0] + inputs[:, 1] * inputs[:, 2] + 0.3 * torch.randn(800, generator=generator)
    targets = torch.sign(score)
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.BCEWithLogitsLoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=40, shuffle=True)
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
            accuracy = ((net(test_inputs) > 0) == (test_targets > 0)).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
