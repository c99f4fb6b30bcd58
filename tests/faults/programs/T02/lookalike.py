"""zero_grad() at the end of the loop body, after step(), is right: the gradients have been used, and the
first batch finds none."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    return TensorDataset(x, score.argmax(dim=1))


def main():
    torch.manual_seed(0)
    trainloader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    testloader = DataLoader(make_data(200, seed=2), batch_size=50)
    net = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 3))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)

    for epoch in range(10):
        net.train()
        running_loss = 0.0
        for inputs, labels in trainloader:
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            running_loss += loss.item() * len(labels)
        net.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in testloader:
                correct += (net(inputs).argmax(dim=1) == labels).sum().item()
        print(f"[{epoch + 1}] loss {running_loss / 800:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
