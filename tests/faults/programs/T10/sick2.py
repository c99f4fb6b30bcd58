"""The smoothed loss for the log is a moving average of loss tensors: it hangs on the graph of every batch
since the start, and memory grows as long as training runs."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, lr=0.005):
        self.model = model
        self.loss_fn = nn.MSELoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        self.smoothed = None

    def train_step(self, x, y):
        self.model.train()
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        value = loss
        self.smoothed = value if self.smoothed is None else 0.95 * self.smoothed + 0.05 * value

    def evaluate(self, loader):
        self.model.eval()
        with torch.no_grad():
            total = sum(self.loss_fn(self.model(x), y).item() * len(x) for x, y in loader)
        return total / len(loader.dataset)


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.6 * x[:, 1] * x[:, 2] + 0.1 * torch.randn(n, generator=generator)
    return TensorDataset(x, y.unsqueeze(1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    trainer = Trainer(nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 1)))
    for epoch in range(10):
        for x, y in train_loader:
            trainer.train_step(x, y)
        print(f"epoch {epoch + 1}: smoothed {trainer.smoothed:.3f}, val {trainer.evaluate(val_loader):.3f}")


if __name__ == "__main__":
    main()
