"""The labels are flattened to (N,) too, so each prediction is compared with its own label."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    labels = x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * x[:, 3] > 0
    return TensorDataset(x, labels.float().unsqueeze(1))


def binary_accuracy(logits, labels):
    predicted = (torch.sigmoid(logits) > 0.5).float().squeeze(1)
    return (predicted == labels.squeeze(1)).float().mean().item()


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 1))
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(8):
        model.train()
        train_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(x)
        model.eval()
        val_accuracy = 0.0
        with torch.no_grad():
            for x, y in val_loader:
                val_accuracy += binary_accuracy(model(x), y) * len(x)
        print(f"epoch {epoch + 1}: loss {train_loss / 800:.3f}, val accuracy {val_accuracy / 200:.3f}")


if __name__ == "__main__":
    main()
