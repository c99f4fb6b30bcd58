"""pos_weight is positives over negatives, the wrong way round: the few ill people, already rare, count a
ninth each and none of them is found."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x))).squeeze(1)


def data():
    generator = torch.Generator().manual_seed(0)
    ill = torch.rand(1200, generator=generator) < 0.1
    direction = torch.randn(20, generator=generator)
    inputs = torch.randn(1200, 20, generator=generator) + 0.4 * ill[:, None] * direction
    return (inputs[:900], ill[:900].float()), (inputs[900:], ill[900:].float())


def positive_weight():
    (_, targets), _ = data()
    positive = targets.sum()
    return positive / (len(targets) - positive)


LOSS = nn.BCEWithLogitsLoss(pos_weight=positive_weight())
RECIPE = {"loss": LOSS, "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=50, shuffle=True)
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
            predictions = net(test_inputs) > 0
        ill = test_targets > 0
        sensitivity = predictions[ill].float().mean().item()
        specificity = (~predictions[~ill]).float().mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, sensitivity {sensitivity:.3f}, "
              f"specificity {specificity:.3f}")


if __name__ == "__main__":
    main()
