"""The gradients are clipped after backward() and before step(), so a batch with an outlier makes no longer
step than any other."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MLP(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.fc1 = nn.Linear(6, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


def make_returns(n, seed):
    """A smooth function of six standardised columns; the targets have heavy tails, as returns do."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    noise = torch.randn(n, generator=generator) / torch.rand(n, generator=generator).clamp(min=0.01)
    y = 0.8 * x[:, 0] + torch.sin(2 * x[:, 1]) + 0.6 * x[:, 2] * x[:, 3] + 0.05 * noise
    return TensorDataset(x, y.unsqueeze(1))


def train_one_epoch(model, loader, loss_fn, opt, max_norm):
    model.train()
    total = 0.0
    for x, y in loader:
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        opt.step()
        total += loss.item() * len(y)
    return total / len(loader.dataset)


@torch.no_grad()
def median_error(model, loader):
    model.eval()
    return torch.cat([(model(x) - y).abs() for x, y in loader]).median().item()


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_returns(800, seed=1), batch_size=16, shuffle=True)
    test_loader = DataLoader(make_returns(200, seed=2), batch_size=50)
    model = MLP()
    opt = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    for epoch in range(10):
        loss = train_one_epoch(model, train_loader, nn.MSELoss(), opt, max_norm=0.5)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, median test error {median_error(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
