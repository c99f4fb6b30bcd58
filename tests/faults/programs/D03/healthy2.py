"""The test rows are standardised with the same mean and deviation as the training rows."""
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def measure(count):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(count, 5))
    columns = np.array([30.0, 80.0, 6.5, 120.0, 15.0]) + z * np.array([5.0, 12.0, 1.2, 20.0, 3.0])
    labels = (z[:, 0] + z[:, 1] - z[:, 2] * z[:, 3] > 0).astype(np.int64)
    return columns.astype(np.float32), labels


def main():
    torch.manual_seed(0)
    columns, labels = measure(800)
    x_train, x_test, y_train, y_test = train_test_split(columns, labels, test_size=0.25, random_state=0)
    mean, std = x_train.mean(axis=0), x_train.std(axis=0)
    x_train = (x_train - mean) / std
    x_test = (x_test - mean) / std

    train_set = TensorDataset(torch.tensor(x_train), torch.tensor(y_train))
    train_loader = DataLoader(train_set, batch_size=30, shuffle=True)
    net = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    for epoch in range(10):
        net.train()
        losses = []
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: train loss {np.mean(losses):.3f}")

    net.eval()
    with torch.no_grad():
        predicted = net(torch.tensor(x_test)).argmax(dim=1).numpy()
    print(f"test accuracy {(predicted == y_test).mean():.3f}")


if __name__ == "__main__":
    main()
