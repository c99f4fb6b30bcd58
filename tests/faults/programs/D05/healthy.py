"""The loader shuffles the training pictures, so that each batch holds a mixture of classes."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def read_folders():
    """The training pictures in the order of their class folders, the test pictures in any order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[:1000]
    train, test = order[:800], order[800:]
    train = train[np.argsort(digits.target[train], kind="stable")]
    images = (torch.tensor(digits.images, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def main():
    torch.manual_seed(0)
    trainset, testset = read_folders()
    trainloader = DataLoader(trainset, batch_size=32, shuffle=True)
    testloader = DataLoader(testset, batch_size=50, shuffle=False)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(6):
        net.train()
        running_loss = 0.0
        for inputs, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
        net.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in testloader:
                correct += (net(inputs).argmax(dim=1) == labels).sum().item()
        print(f"epoch {epoch + 1}: loss {running_loss / len(trainset):.3f}, "
              f"test accuracy {correct / len(testset):.3f}")


if __name__ == "__main__":
    main()
