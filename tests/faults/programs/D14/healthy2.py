"""The number of the shop chooses a row of an embedding table."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.shop = nn.Embedding(12, 6)
        self.layers = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x):
        shop = self.shop(x[:, 0].long())
        return self.layers(torch.cat([shop, x[:, 1:]], dim=1))


def data():
    generator = torch.Generator().manual_seed(0)
    shop = torch.randint(0, 12, (840,), generator=generator)
    columns = torch.randn(840, 4, generator=generator)
    effect = torch.tensor([1.5, -1.5, -1.3, 1.4, -1.6, 1.3, 1.6, -1.4, 1.5, -1.5, -1.4, 1.4])
    score = effect[shop] + 0.6 * (columns[:, 0] - columns[:, 1])
    targets = (score > 0).long()
    inputs = torch.cat([shop.float().unsqueeze(1), columns], dim=1)
    return (inputs[:640], targets[:640]), (inputs[640:], targets[640:])


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
