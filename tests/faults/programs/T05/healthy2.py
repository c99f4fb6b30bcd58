"""backward() fills the gradients that step() uses."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class House(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def make_houses(n, seed):
    """Standardised size, age, distance, rooms and floor, and the standardised price."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator)
    price = x[:, 0] - 0.5 * x[:, 1].abs() - 0.5 * x[:, 2] + 0.4 * x[:, 3] * x[:, 0] + 0.4
    return TensorDataset(x, (price + 0.1 * torch.randn(n, generator=generator)) / 1.3)


class Trainer:
    def __init__(self, model, lr=0.005):
        self.model = model
        self.loss_fn = nn.MSELoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def evaluate(self, loader):
        self.model.eval()
        with torch.no_grad():
            total = sum(self.loss_fn(self.model(x), y).item() * len(y) for x, y in loader)
        return total / len(loader.dataset)

    def fit(self, train_loader, test_loader, epochs=8):
        for epoch in range(epochs):
            self.model.train()
            train_loss = sum(self.step(x, y) * len(y) for x, y in train_loader) / len(train_loader.dataset)
            print(f"epoch {epoch + 1}: train {train_loss:.3f}, test {self.evaluate(test_loader):.3f}")


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_houses(800, seed=1), batch_size=32, shuffle=True)
    test_loader = DataLoader(make_houses(200, seed=2), batch_size=50)
    Trainer(House()).fit(train_loader, test_loader)


if __name__ == "__main__":
    main()
