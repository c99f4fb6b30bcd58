"""Equal rows with different labels are right here: five answers of 1 to 4 leave few different
questionnaires, and who votes yes is a matter of chance that the network is to estimate."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.layers(x)


def data():
    generator = torch.Generator().manual_seed(0)
    answers = torch.randint(1, 5, (1000, 5), generator=generator)
    inputs = (answers.float() - 2.5) / 1.12
    leaning = torch.sigmoid(1.4 * inputs[:, 0] - 1.2 * inputs[:, 1] + 0.8 * inputs[:, 2] * inputs[:, 3])
    votes = torch.bernoulli(leaning, generator=generator).long()
    return (inputs[:800], votes[:800]), (inputs[800:], votes[800:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(8):
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
