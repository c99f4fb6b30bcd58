"""zero_grad() is called once an epoch instead of once a batch: within an epoch every step follows the sum
of all gradients so far, the last one the sum of twenty-five."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, train_loader, val_loader):
        self.model = model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.loss_fn = nn.MSELoss()
        self.opt = torch.optim.Adam(model.parameters(), lr=0.01)

    def train_epoch(self):
        self.model.train()
        total = 0.0
        self.opt.zero_grad()
        for x, y in self.train_loader:
            loss = self.loss_fn(self.model(x), y)
            loss.backward()
            self.opt.step()
            total += loss.item() * len(x)
        return total / len(self.train_loader.dataset)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        total = 0.0
        for x, y in self.val_loader:
            total += self.loss_fn(self.model(x), y).item() * len(x)
        return total / len(self.val_loader.dataset)


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    y = torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] * 0.5 + 0.5 * x[:, 3]
    y = y + 0.1 * torch.randn(n, generator=generator)
    return TensorDataset(x, y.unsqueeze(1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=100)
    model = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 1))
    trainer = Trainer(model, train_loader, val_loader)
    for epoch in range(8):
        train_loss = trainer.train_epoch()
        print(f"epoch {epoch + 1}: train {train_loss:.3f}, val {trainer.validate():.3f}")


if __name__ == "__main__":
    main()
