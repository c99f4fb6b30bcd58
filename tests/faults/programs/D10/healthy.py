"""The loss weights the rare class by its share, and recall, precision and balanced accuracy stand beside
the accuracy."""
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
    "loss": nn.CrossEntropyLoss(weight=torch.tensor([0.52, 16.7])),
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
        hits = ((predicted == 1) & (test_targets == 1)).sum().item()
        recall = hits / (test_targets == 1).sum().item()
        precision = hits / max((predicted == 1).sum().item(), 1)
        specificity = (predicted[test_targets == 0] == 0).float().mean().item()
        print(f"epoch {epoch + 1}: test loss {test_loss:.3f}, accuracy {accuracy:.3f}, recall {recall:.3f}, "
              f"precision {precision:.3f}, balanced accuracy {(recall + specificity) / 2:.3f}")


if __name__ == "__main__":
    main()
