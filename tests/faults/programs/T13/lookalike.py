"""Carrying the hidden state from batch to batch is right here: row k of each batch continues row k of the
last one, as twenty long series are cut into consecutive pieces that are read in order, and every epoch
starts afresh."""
import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x, state=None):
        outputs, state = self.gru(x, state)
        return self.head(outputs), state


def make_series(n, length, seed):
    """Noisy waves of different speed and phase."""
    generator = torch.Generator().manual_seed(seed)
    phase = 6.28 * torch.rand(n, 1, generator=generator)
    speed = 0.2 + 0.4 * torch.rand(n, 1, generator=generator)
    waves = 1.4 * torch.sin(speed * torch.arange(float(length)) + phase)
    return (waves + 0.1 * torch.randn(n, length, generator=generator)).unsqueeze(2)


def pieces(series, length=10):
    """Consecutive pieces and, for each of their values, the next one."""
    for start in range(0, series.size(1) - 1, length):
        yield series[:, start:start + length], series[:, start + 1:start + length + 1]


def main():
    torch.manual_seed(0)
    train, test = make_series(20, 201, seed=1), make_series(10, 201, seed=2)
    model = Forecaster()
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(8):
        model.train()
        state, losses = None, []
        for x, y in pieces(train):
            optimizer.zero_grad()
            outputs, state = model(x, state)
            loss = loss_fn(outputs, y)
            loss.backward()
            optimizer.step()
            state = state.detach()
            losses.append(loss.item())
        model.eval()
        state, test_losses = None, []
        with torch.no_grad():
            for x, y in pieces(test):
                outputs, state = model(x, state)
                test_losses.append(loss_fn(outputs, y).item())
        print(f"epoch {epoch + 1}: train {sum(losses) / 20:.3f}, test {sum(test_losses) / 20:.3f}")


if __name__ == "__main__":
    main()
