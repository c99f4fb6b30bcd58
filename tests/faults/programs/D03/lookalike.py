"""Training and test differ here because the second hospital's patients are older and heavier; both go
through the same standardisation, so the shift is a fact about the data and not a fault of the program."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def examine(count, generator, age_mean, weight_mean):
    age = age_mean + 12 * torch.randn(count, generator=generator)
    weight = weight_mean + 11 * torch.randn(count, generator=generator)
    others = torch.randn(count, 4, generator=generator)
    risk = (age - 50) / 12 + (weight - 75) / 11 + others[:, 0] - others[:, 1]
    return torch.cat([age.unsqueeze(1), weight.unsqueeze(1), others], dim=1), (risk > 0.5).long()


def fit(model, loader, epochs=10, lr=0.003):
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"epoch {epoch + 1}: train loss {total / len(loader.dataset):.3f}")


def score(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train_x, train_y = examine(640, generator, age_mean=50, weight_mean=75)
    test_x, test_y = examine(200, generator, age_mean=60, weight_mean=81)
    mean, std = train_x.mean(dim=0), train_x.std(dim=0)
    train_loader = DataLoader(TensorDataset((train_x - mean) / std, train_y), batch_size=32, shuffle=True)
    test_loader = DataLoader(TensorDataset((test_x - mean) / std, test_y), batch_size=50)

    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    fit(model, train_loader)
    print(f"accuracy in the other hospital {score(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
