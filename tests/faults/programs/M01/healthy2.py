"""log_softmax over the last axis, the classes: each time step gets its own distribution over the three
states."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Names the state of a machine (idle, working, overloaded) at each of 30 time steps."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 24, batch_first=True, bidirectional=True)
        self.output = nn.Linear(48, 3)

    def forward(self, x):
        x, _ = self.rnn(x)
        return F.log_softmax(self.output(x), dim=-1)


def data():
    generator = torch.Generator().manual_seed(0)
    states = torch.zeros(500, 30, dtype=torch.long)
    states[:, 0] = torch.randint(3, (500,), generator=generator)
    for t in range(1, 30):
        move = torch.rand(500, generator=generator) < 0.15
        other = torch.randint(3, (500,), generator=generator)
        states[:, t] = torch.where(move, other, states[:, t - 1])
    levels = torch.tensor([[-1.2, 0.3], [0.0, -1.2], [1.2, 0.9]])
    x = levels[states] + 0.6 * torch.randn(500, 30, 2, generator=generator)
    return (x[:400], states[:400]), (x[400:], states[400:])


def loss_function(outputs, targets):
    return F.nll_loss(outputs.flatten(0, 1), targets.flatten())


RECIPE = {"loss": loss_function, "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    for epoch in range(8):
        net.train()
        total = 0.0
        for x, y in loader:
            loss = loss_function(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        net.eval()
        with torch.no_grad():
            outputs = net(test_x)
        accuracy = (outputs.argmax(dim=-1) == test_y).float().mean()
        print(f"epoch {epoch + 1}: train loss {total / len(train_y):.3f}, test loss "
              f"{loss_function(outputs, test_y):.3f}, share of steps right {accuracy:.3f}")
    with torch.no_grad():
        single = torch.cat([net(series[None]).argmax(dim=-1) for series in test_x])
    print(f"one series at a time: share of steps right {(single == test_y).float().mean():.3f}")


if __name__ == "__main__":
    main()
