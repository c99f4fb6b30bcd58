"""The epoch is picked by the accuracy on a validation set, and the test set is looked at once, with that
network."""
import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    """Noisy measurements: the classes overlap and no network can be right always."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    score = score + 0.5 * torch.randn(n, 3, generator=generator)
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
    train_loader = DataLoader(make_data(400, seed=1), batch_size=40, shuffle=True)
    val_loader = DataLoader(make_data(100, seed=2), batch_size=50)
    test_loader = DataLoader(make_data(100, seed=6), batch_size=50)
    model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    best_accuracy, best_state = 0.0, None
    for epoch in range(40):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        accuracy = evaluate(model, val_loader)
        if accuracy > best_accuracy:
            best_accuracy, best_state = accuracy, copy.deepcopy(model.state_dict())
            print(f"epoch {epoch + 1}: loss {total / 400:.3f}, new best accuracy {accuracy:.3f}")
    model.load_state_dict(best_state)
    print(f"test accuracy {evaluate(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
