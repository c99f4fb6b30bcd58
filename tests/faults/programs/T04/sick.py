"""clip_grad_norm_ runs after optimizer.step(): the step has been made with the whole gradient, so the
clipping changes nothing and single steep batches throw the recurrent network off."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class RNNRegressor(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.rnn = nn.RNN(2, hidden, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def adding_problem(n, length=12, seed=0):
    """The sum of the two marked numbers of a sequence."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, length, generator=generator)
    marks = torch.zeros(n, length)
    marks.scatter_(1, torch.rand(n, length, generator=generator).argsort(dim=1)[:, :2], 1.0)
    targets = (values * marks).sum(dim=1, keepdim=True) / 2 ** 0.5
    return TensorDataset(torch.stack([values, marks], dim=2), targets)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(adding_problem(800, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(adding_problem(200, seed=2), batch_size=50)
    model = RNNRegressor()
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for epoch in range(12):
        model.train()
        train_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
            train_loss += loss.item() * len(x) / 800
        model.eval()
        with torch.no_grad():
            test_loss = sum(criterion(model(x), y).item() * len(x) for x, y in test_loader) / 200
        print(f"epoch {epoch + 1}: train {train_loss:.3f}, test {test_loss:.3f}")


if __name__ == "__main__":
    main()
