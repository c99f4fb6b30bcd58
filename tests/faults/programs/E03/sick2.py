"""The counters are set to zero once, before the epochs: each printed accuracy and loss is the average over
all epochs so far and lags behind the network."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    return TensorDataset(x, score.argmax(dim=1))


def main():
    torch.manual_seed(0)
    trainloader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    valloader = DataLoader(make_data(200, seed=2), batch_size=50)
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)

    correct, total, val_loss = 0, 0, 0.0
    for epoch in range(8):
        net.train()
        for inputs, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()

        net.eval()
        with torch.no_grad():
            for inputs, labels in valloader:
                outputs = net(inputs)
                val_loss += criterion(outputs, labels).item() * labels.size(0)
                correct += (outputs.argmax(dim=1) == labels).sum().item()
                total += labels.size(0)
        print(f"epoch {epoch + 1}: val loss {val_loss / total:.3f}, val accuracy {correct / total:.3f}")


if __name__ == "__main__":
    main()
