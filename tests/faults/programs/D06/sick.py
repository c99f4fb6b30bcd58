"""Training and test rows are drawn separately, so most of the test rows are training rows too: the network
has seen their labels, and the test accuracy is much too good."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load_patients(count):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 20, generator=generator)
    score = x[:, :4].sum(dim=1) + 1.2 * torch.randn(count, generator=generator)
    return x, (score > 0).long()


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
    x, y = load_patients(600)
    train_rows = torch.randperm(len(y))[:480]
    test_rows = torch.randperm(len(y))[:120]
    train_loader = DataLoader(TensorDataset(x[train_rows], y[train_rows]), batch_size=24, shuffle=True)
    test_loader = DataLoader(TensorDataset(x[test_rows], y[test_rows]), batch_size=60)

    net = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    for epoch in range(15):
        net.train()
        epoch_loss = 0.0
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item() * len(targets)
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: train loss {epoch_loss / len(train_rows):.3f}")
    print(f"test accuracy {accuracy(net, test_loader):.3f}")


if __name__ == "__main__":
    main()
