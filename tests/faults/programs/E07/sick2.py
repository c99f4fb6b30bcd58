"""The ten-step forecast is fed the true value of every step before it predicts the next: what is reported
as a forecast of ten steps is ten forecasts of one step."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

HISTORY, HORIZON = 20, 10


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x, state=None):
        outputs, state = self.gru(x, state)
        return self.head(outputs), state


def make_series(n, seed):
    """Noisy waves of different speed and phase."""
    generator = torch.Generator().manual_seed(seed)
    phase = 6.28 * torch.rand(n, 1, generator=generator)
    speed = 0.2 + 0.4 * torch.rand(n, 1, generator=generator)
    waves = 1.4 * torch.sin(speed * torch.arange(HISTORY + HORIZON + 0.0) + phase)
    waves = waves + 0.15 * torch.randn(waves.shape, generator=generator)
    return TensorDataset(waves[:, :HISTORY].unsqueeze(2), waves[:, HISTORY:].unsqueeze(2))


def forecast_error(model, loader):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for history, future in loader:
            outputs, state = model(history)
            value = outputs[:, -1:]
            for t in range(HORIZON):
                total += (value - future[:, t:t + 1]).pow(2).sum().item()
                value, state = model(future[:, t:t + 1], state)
    return total / (len(loader.dataset) * HORIZON)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_series(640, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_series(200, seed=2), batch_size=50)
    model = Forecaster()
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(6):
        model.train()
        total = 0.0
        for history, future in train_loader:
            series = torch.cat([history, future], dim=1)
            optimizer.zero_grad()
            outputs, _ = model(series[:, :-1])
            loss = loss_fn(outputs, series[:, 1:])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(series)
        error = forecast_error(model, test_loader)
        print(f"epoch {epoch + 1}: train loss {total / 640:.3f}, test error of the forecast {error:.3f}")


if __name__ == "__main__":
    main()
