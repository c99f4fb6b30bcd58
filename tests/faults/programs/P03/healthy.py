"""Mean and standard deviation are buffers, so they are saved and loaded with the weights."""
import os
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Regressor(nn.Module):
    """Takes the raw measurements; the scaling is part of the model."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("std", torch.ones(6))
        self.body = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))

    def fit_scaler(self, x):
        self.mean = x.mean(dim=0)
        self.std = x.std(dim=0)

    def forward(self, x):
        return self.body((x - self.mean) / self.std).squeeze(1)


def make_data():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(800, 6, generator=generator)
    x = z * torch.tensor([2.0, 0.5, 3.0, 1.0, 4.0, 0.8]) + torch.tensor([3.0, -1.0, 5.0, 0.5, -6.0, 2.0])
    y = 0.7 * z[:, 0] - 0.6 * z[:, 1] * z[:, 2] + 0.4 * z[:, 3].abs() + 0.3 * z[:, 4] - 0.5 * z[:, 5]
    return (x[:600], y[:600]), (x[600:], y[600:])


def main():
    torch.manual_seed(0)
    (x_train, y_train), (x_test, y_test) = make_data()
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=40, shuffle=True)
    model = Regressor()
    model.fit_scaler(x_train)
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(12):
        model.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "regressor.pt")
        torch.save(model.state_dict(), path)
        loaded = Regressor()
        loaded.load_state_dict(torch.load(path))
    loaded.eval()
    with torch.no_grad():
        print(f"test error: trained {criterion(model(x_test), y_test).item():.4f}, "
              f"loaded {criterion(loaded(x_test), y_test).item():.4f}, variance {y_test.var().item():.3f}")


if __name__ == "__main__":
    main()
