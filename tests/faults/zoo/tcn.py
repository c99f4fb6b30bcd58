"""A temporal convolutional network: dilated causal convolutions with weight norm predict each next value."""
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import DataLoader, TensorDataset


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_inputs, n_outputs, kernel_size, dilation, dropout=0.05):
        super().__init__()
        padding = (kernel_size - 1) * dilation
        self.net = nn.Sequential(
            weight_norm(nn.Conv1d(n_inputs, n_outputs, kernel_size, padding=padding, dilation=dilation)),
            Chomp1d(padding), nn.ReLU(), nn.Dropout(dropout),
            weight_norm(nn.Conv1d(n_outputs, n_outputs, kernel_size, padding=padding, dilation=dilation)),
            Chomp1d(padding), nn.ReLU(), nn.Dropout(dropout),
        )
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None
        self.relu = nn.ReLU()

    def forward(self, x):
        res = x if self.downsample is None else self.downsample(x)
        return self.relu(self.net(x) + res)


class Net(nn.Module):
    def __init__(self, channels=(16, 16, 16), kernel_size=3):
        super().__init__()
        sizes = (1, *channels)
        self.network = nn.Sequential(
            *[TemporalBlock(sizes[i], sizes[i + 1], kernel_size, dilation=2**i) for i in range(len(channels))]
        )
        self.linear = nn.Linear(channels[-1], 1)

    def forward(self, x):
        y = self.network(x.transpose(1, 2))  # (batch, time, 1) -> (batch, channels, time)
        return self.linear(y.transpose(1, 2))


def data():
    g = torch.Generator().manual_seed(0)
    n, length = 500, 33
    frequency = torch.rand(n, 1, generator=g) * 0.4 + 0.2
    phase = torch.rand(n, 1, generator=g) * 6.28
    wave = 1.4 * torch.sin(frequency * torch.arange(length) + phase)
    wave += 0.05 * torch.randn(n, length, generator=g)
    x, y = wave[:, :-1].unsqueeze(-1), wave[:, 1:].unsqueeze(-1)  # the target is the next value
    return (x[:400], y[:400]), (x[400:], y[400:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 4e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True)
    for epoch in range(8):
        model.train()
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            test_loss = criterion(model(test_x), test_y).item()
        print(f"epoch {epoch + 1}: train {running / len(train_x):.4f}, test {test_loss:.4f}")


if __name__ == "__main__":
    main()
