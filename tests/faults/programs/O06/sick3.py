"""The iterator of the weights is read by the optimizer, so the L1 penalty is a sum over nothing, always 0:
the network learns the noise of its few samples by heart."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(440, 60, generator=generator)
    y = X[:, 0] - X[:, 1] + 0.8 * X[:, 2] + 0.8 * torch.randn(440, generator=generator)
    return X, y / 1.8


def main():
    torch.manual_seed(0)
    X, y = make_data()
    loader = DataLoader(TensorDataset(X[:140], y[:140]), batch_size=20, shuffle=True)
    model = nn.Sequential(nn.Linear(60, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    weights = filter(lambda p: p.ndim > 1, model.parameters())
    optimizer = torch.optim.Adam([
        {"params": weights},
        {"params": [p for p in model.parameters() if p.ndim == 1]},
    ], lr=0.005)
    criterion = nn.MSELoss()
    for epoch in range(60):
        model.train()
        for inputs, targets in loader:
            penalty = sum(w.abs().sum() for w in weights)
            loss = criterion(model(inputs), targets) + 0.005 * penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (epoch + 1) % 10 == 0:
            model.eval()
            with torch.no_grad():
                fit = criterion(model(X[:140]), y[:140]).item()
                error = criterion(model(X[140:]), y[140:]).item()
            print(f"epoch {epoch + 1}: train error {fit:.3f}, test error {error:.3f}")


if __name__ == "__main__":
    main()
