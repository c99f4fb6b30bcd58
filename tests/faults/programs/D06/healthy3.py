"""Whole speakers are assigned to training or to the test."""
import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load_recordings():
    """80 speakers with 10 recordings each; ill speakers sound a little different."""
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(80), 10)
    ill = rng.permutation(np.repeat([0, 1], 40))
    voice = rng.normal(size=(80, 24)) + ill[:, None] * np.r_[np.full(4, 0.9), np.zeros(20)]
    x = 0.9 * voice[speaker] + 0.4 * rng.normal(size=(800, 24))
    return x.astype(np.float32), ill[speaker].astype(np.int64), speaker


@torch.no_grad()
def accuracy(net, loader):
    net.eval()
    correct = count = 0
    for x, y in loader:
        correct += (net(x).argmax(dim=1) == y).sum().item()
        count += len(y)
    return correct / count


def main():
    torch.manual_seed(0)
    x, y, speaker = load_recordings()
    train, test = next(GroupShuffleSplit(n_splits=1, test_size=0.25, random_state=0).split(x, y, speaker))
    train_set = TensorDataset(torch.tensor(x[train]), torch.tensor(y[train]))
    train_loader = DataLoader(train_set, batch_size=30, shuffle=True)
    test_loader = DataLoader(TensorDataset(torch.tensor(x[test]), torch.tensor(y[test])), batch_size=50)
    print(f"{len(set(speaker[train]))} speakers in training, {len(set(speaker[test]))} in the test")

    model = nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(10):
        model.train()
        total = 0.0
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        print(f"epoch {epoch + 1}: train loss {total / len(train):.3f}")
    print(f"test accuracy {accuracy(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
