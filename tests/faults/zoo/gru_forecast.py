"""A GRU forecasts the next four values of a series from the last twenty-four."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, input_size=1, hidden_size=32, horizon=4):
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)
        self.linear = nn.Linear(hidden_size, horizon)

    def forward(self, x):
        h0 = torch.zeros(1, x.size(0), self.gru.hidden_size, device=x.device)
        out, _ = self.gru(x, h0)
        return self.linear(out[:, -1, :])


def data():
    """Series in order of time, the last part is the test; windows do not overlap the border."""
    g = torch.Generator().manual_seed(0)
    t = torch.arange(1200, dtype=torch.float32)
    series = torch.sin(t / 3.1) + 0.5 * torch.sin(t / 7.3 + 1) + 0.1 * torch.randn(1200, generator=g)
    series = (series - series[:900].mean()) / series[:900].std()

    def windows(part):
        w = part.unfold(0, 28, 1)
        return w[:, :24].unsqueeze(-1).clone(), w[:, 24:].clone()

    return windows(series[:900]), windows(series[900:])


RECIPE = {"loss": nn.MSELoss(), "optimizer": torch.optim.Adam, "lr": 5e-3}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    model = Net()
    criterion = RECIPE["loss"]
    optimizer = RECIPE["optimizer"](model.parameters(), lr=RECIPE["lr"])
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
    for epoch in range(6):
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
