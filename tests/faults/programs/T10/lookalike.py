"""Adding up loss tensors is right here: the sum over the time steps of the sequence is the loss that
backward() runs on, and for the log it is turned into a number."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.cell = nn.GRUCell(1, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, value, state):
        state = self.cell(value, state)
        return self.head(state), state


def sequence_loss(model, criterion, series):
    """The mean over the time steps of the error of the next value."""
    state = None
    loss = 0
    for t in range(series.size(1) - 1):
        prediction, state = model(series[:, t:t + 1], state)
        loss += criterion(prediction, series[:, t + 1:t + 2])
    return loss / (series.size(1) - 1)


def make_data(n, seed):
    """Noisy waves of different speed and phase."""
    generator = torch.Generator().manual_seed(seed)
    phase = 6.28 * torch.rand(n, 1, generator=generator)
    speed = 0.3 + 0.5 * torch.rand(n, 1, generator=generator)
    waves = 1.4 * torch.sin(speed * torch.arange(12.0) + phase)
    return TensorDataset(waves + 0.1 * torch.randn(n, 12, generator=generator))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(640, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = Forecaster()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(6):
        model.train()
        total = 0.0
        for (series,) in train_loader:
            optimizer.zero_grad()
            loss = sequence_loss(model, criterion, series)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(series)
        model.eval()
        with torch.no_grad():
            test = sum(sequence_loss(model, criterion, s).item() * len(s) for (s,) in test_loader) / 200
        print(f"epoch {epoch + 1}: train {total / 640:.3f}, test {test:.3f}")


if __name__ == "__main__":
    main()
