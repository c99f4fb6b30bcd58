"""Monte-Carlo dropout: dropout is kept on at test time on purpose and predictions are averaged over 30
passes, whose spread is reported as the uncertainty."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 64)
        self.fc2 = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = F.dropout(x, 0.3, training=True)  # Monte-Carlo dropout: on in eval mode too
        return self.fc2(x)


@torch.no_grad()
def mc_predict(net, inputs, passes=30):
    net.eval()
    probabilities = torch.stack([net(inputs).softmax(dim=1) for _ in range(passes)])
    return probabilities.mean(dim=0), probabilities.std(dim=0)


def data():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(8, 12, generator=generator)
    cluster = torch.randint(0, 8, (800,), generator=generator)
    inputs = centres[cluster] + 0.5 * torch.randn(800, 12, generator=generator)
    targets = cluster % 4
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_inputs, train_targets), (test_inputs, test_targets) = data()
    loader = DataLoader(TensorDataset(train_inputs, train_targets), batch_size=32, shuffle=True)
    net = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](net.parameters(), lr=RECIPE["lr"])
    for epoch in range(6):
        net.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
        mean, spread = mc_predict(net, test_inputs)
        accuracy = (mean.argmax(1) == test_targets).float().mean().item()
        print(f"epoch {epoch + 1}: test accuracy {accuracy:.4f}, mean spread {spread.mean().item():.4f}")


if __name__ == "__main__":
    main()
