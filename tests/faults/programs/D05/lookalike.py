"""Time order without shuffling is right here: the windows of a series are trained on in their order, and
the last part of the series is the test, as it will be when the model is used."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def windows(length=16):
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(916.0)
    series = torch.sin(time / 4) + 0.5 * torch.sin(time / 9 + 1)
    series = (series + 0.15 * torch.randn(916, generator=generator)) / 0.8
    pieces = series.unfold(0, length + 1, 1)
    return pieces[:, :length], pieces[:, length:]


def main():
    torch.manual_seed(0)
    inputs, targets = windows()
    train_loader = DataLoader(TensorDataset(inputs[:700], targets[:700]), batch_size=35, shuffle=False)
    test_inputs, test_targets = inputs[716:], targets[716:]

    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(8):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        model.eval()
        with torch.no_grad():
            test_loss = loss_fn(model(test_inputs), test_targets).item()
        print(f"epoch {epoch + 1}: train loss {total / 700:.3f}, test loss {test_loss:.3f}")


if __name__ == "__main__":
    main()
