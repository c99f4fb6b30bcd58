"""filter() can be read only once and the optimizer has read it: clip_grad_norm_ gets no parameters,
silently clips nothing, and a few huge gradients ruin the recurrent network."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Summer(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(2, 32, nonlinearity="relu", batch_first=True)
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        hidden, _ = self.rnn(x)
        return self.out(hidden[:, -1]).squeeze(1)


def make_data():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1000, 16, generator=generator)
    marks = (torch.rand(1000, 16, generator=generator) < 0.25).float()
    totals = (values * marks).sum(dim=1)
    return torch.stack([values, marks], dim=2), (totals - 2) / 1.1


def main():
    torch.manual_seed(0)
    X, y = make_data()
    train_loader = DataLoader(TensorDataset(X[:800], y[:800]), batch_size=40, shuffle=True)
    model = Summer()
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(torch.eye(32))         # identity start, as usual for this kind of RNN
    params = filter(lambda p: p.requires_grad, model.parameters())
    optimizer = torch.optim.SGD(params, lr=0.01, momentum=0.9)
    criterion = nn.MSELoss()
    for epoch in range(15):
        model.train()
        running = 0.0
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(params, 0.3)
            optimizer.step()
            running += loss.item() * len(inputs)
        model.eval()
        with torch.no_grad():
            error = criterion(model(X[800:]), y[800:]).item()
        print(f"epoch {epoch + 1}: loss {running / 800:.4g}, test error {error:.4g} "
              f"(variance {y[800:].var().item():.3f})")


if __name__ == "__main__":
    main()
