"""The pixel values are brought to mean 0 and standard deviation 1 before training."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.out = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv(x)))
        return self.out(x.flatten(1))


def data():
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=generator)[:1000]
    pixels = (torch.tensor(digits.images) * 255 / 16).to(torch.uint8)[order]
    labels = torch.tensor(digits.target)[order]
    images = (pixels.unsqueeze(1).float() / 255 - 0.305) / 0.376
    return (images[:800], labels[:800]), (images[800:], labels[800:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.SGD, "lr": 0.1}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(6):
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
