"""Raw columns of very different scale are right here: the first layer of the network is a BatchNorm1d,
which standardises each column and is saved with the model."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.hidden = nn.Linear(6, 32)
        self.out = nn.Linear(32, 3)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(self.norm(x))))


def data():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(840, 6, generator=generator)
    age = 44 + 12 * z[:, 0]
    income = 38000 * torch.exp(0.5 * z[:, 1])
    debt_ratio = torch.sigmoid(z[:, 2])
    balance = 9000 + 5200 * z[:, 3]
    interest = 0.05 + 0.01 * z[:, 4]
    years = 11 + 4 * z[:, 5]
    inputs = torch.stack([age, income, debt_ratio, balance, interest, years], dim=1)
    score = z[:, 0] + z[:, 2] * z[:, 4] - z[:, 1] + 0.2 * torch.randn(840, generator=generator)
    targets = (score > -0.6).long() + (score > 0.6).long()
    train_inputs, test_inputs = inputs[:640], inputs[640:]
    return (train_inputs, targets[:640]), (test_inputs, targets[640:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(10):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        net.eval()
        with torch.no_grad():
            accuracy = (net(test_inputs).argmax(dim=1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: train loss {total / len(train_targets):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
