"""Predictions have the shape (N, 1) and targets (N,): their difference is broadcast to all N x N pairs,
and the best the network can do is to predict the mean."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 64)
        self.fc2 = nn.Linear(64, 1)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def mse(pred, target):
    return ((pred - target) ** 2).mean()


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 6, generator=generator)
    targets = torch.sin(1.5 * inputs[:, 0]) + inputs[:, 1] * 0.7 + 0.4 * inputs[:, 2] * inputs[:, 3]
    targets = targets + 0.1 * torch.randn(800, generator=generator)
    return (inputs[:600], targets[:600]), (inputs[600:], targets[600:])


RECIPE = {"loss": mse, "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    train_loader = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    model = Net()
    loss_fn = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])

    for epoch in range(15):
        model.train()
        losses = []
        for x, y in train_loader:
            loss = loss_fn(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: train loss {sum(losses) / len(losses):.4f}")

    model.eval()
    with torch.no_grad():
        mse_test = (model(test_x)[:, 0] - test_y).square().mean().item()
    print(f"test mse_test {mse_test:.4f}")


if __name__ == "__main__":
    main()
