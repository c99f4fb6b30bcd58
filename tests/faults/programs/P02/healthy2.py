"""Scripting keeps the loop as a loop, so sequences of any length are read to the end."""
import os
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(2, 24)
        self.out = nn.Linear(24, 1)

    def forward(self, x):
        state = torch.zeros(x.shape[0], 24)
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.out(state).squeeze(1)


def make_data(count, length, generator):
    X = torch.randn(count, length, 2, generator=generator)
    y = (X[:, :, 0] * (X[:, :, 1] > 0)).sum(dim=1) / 2.5
    return X, y


def main():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    X, y = make_data(600, 12, generator)
    X_test, y_test = make_data(200, 12, generator)
    loader = DataLoader(TensorDataset(X, y), batch_size=30, shuffle=True)
    model = Counter()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(10):
        model.train()
        losses = []
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}")

    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "counter.pt")
        torch.jit.script(model).save(path)
        served = torch.jit.load(path)
    with torch.no_grad():
        print(f"test error: model {criterion(model(X_test), y_test).item():.4f}, "
              f"exported {criterion(served(X_test), y_test).item():.4f}, variance {y_test.var().item():.3f}")


if __name__ == "__main__":
    main()
