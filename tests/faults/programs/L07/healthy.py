"""Every label is a real class, so the loss ignores none of them."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, 32)
        self.out = nn.Linear(32, 5)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def data():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 20, generator=generator)
    targets = torch.randint(0, 5, (800,), generator=generator)
    inputs = 0.7 * (centres[targets] + 1.2 * torch.randn(800, 20, generator=generator))
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


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
            predictions = net(test_inputs).argmax(dim=1)
        recalls = [(predictions[test_targets == k] == k).float().mean().item() for k in range(5)]
        print(f"epoch {epoch + 1}: loss {total / len(train_inputs):.4f}, recall of each class "
              + " ".join(f"{recall:.2f}" for recall in recalls))


if __name__ == "__main__":
    main()
