"""Looking at the test accuracy after every epoch is right here: nothing is chosen by it, the number of
epochs is fixed beforehand and the last network is the one reported."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    return TensorDataset(x, score.argmax(dim=1))


def evaluate(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=40, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=3), batch_size=50)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    history = []
    for epoch in range(10):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        history.append(evaluate(model, test_loader))
        print(f"epoch {epoch + 1}: loss {total / 800:.3f}, test accuracy {history[-1]:.3f}")
    print(f"final test accuracy {history[-1]:.3f}")


if __name__ == "__main__":
    main()
