"""Softmax over the axis of the single output unit: one number divided by itself is 1 for every input, the
gradient is exactly zero and nothing is learnt."""
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(2, 32),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
            nn.Softmax(dim=1),
        )

    def forward(self, x):
        return self.model(x)


def data():
    points, labels = make_moons(800, noise=0.15, random_state=0)
    x = torch.tensor(points, dtype=torch.float32)
    y = torch.tensor(labels, dtype=torch.float32).unsqueeze(1)
    mean, std = x[:600].mean(dim=0), x[:600].std(dim=0)
    x = (x - mean) / std
    return (x[:600], y[:600]), (x[600:], y[600:])


RECIPE = {"loss": nn.BCELoss(), "optimizer": torch.optim.Adam, "lr": 0.01}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = nn.BCELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train_loader = DataLoader(TensorDataset(train_x, train_y), batch_size=40, shuffle=True)
    for epoch in range(12):
        model.train()
        running_loss = 0.0
        for inputs, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        model.eval()
        with torch.no_grad():
            predicted = (model(test_x) > 0.5).float()
        accuracy = (predicted == test_y).float().mean()
        print(f"epoch {epoch + 1}: loss {running_loss / len(train_y):.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
