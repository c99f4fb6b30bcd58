"""The cosine is stepped once an epoch, in the unit of its T_max, and falls once over the whole run."""
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    y = torch.sin(2 * x[:, 0]) + 0.7 * x[:, 1] * x[:, 2] + 0.1 * torch.randn(n, generator=generator)
    return TensorDataset(x, y.unsqueeze(1))


class Trainer:
    def __init__(self, model, epochs):
        self.model, self.epochs = model, epochs
        self.criterion = nn.MSELoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.scheduler = CosineAnnealingLR(self.optimizer, T_max=epochs)

    def train_epoch(self, loader):
        self.model.train()
        total = 0.0
        for x, y in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(x)
        self.scheduler.step()
        return total / len(loader.dataset)

    @torch.no_grad()
    def test(self, loader):
        self.model.eval()
        return sum(self.criterion(self.model(x), y).item() * len(x) for x, y in loader) / len(loader.dataset)

    def fit(self, train_loader, test_loader):
        for epoch in range(self.epochs):
            train_loss = self.train_epoch(train_loader)
            print(f"epoch {epoch + 1}: train {train_loss:.4f}, test {self.test(test_loader):.4f}")


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
    Trainer(model, epochs=8).fit(train_loader, test_loader)


if __name__ == "__main__":
    main()
