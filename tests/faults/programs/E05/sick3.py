"""state_dict().copy() copies the dictionary but not the tensors in it: the best weights go on training with
the network."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model):
        self.model = model
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
        self.best_loss = float("inf")
        self.best_weights = None

    def train_epoch(self, loader):
        self.model.train()
        for x, y in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, loader):
        self.model.eval()
        return sum(self.criterion(self.model(x), y).item() * len(y) for x, y in loader) / len(loader.dataset)

    def fit(self, train_loader, val_loader, epochs):
        for epoch in range(epochs):
            self.train_epoch(train_loader)
            val_loss = self.evaluate(val_loader)
            print(f"epoch {epoch + 1}: val {val_loss:.3f}")
            if val_loss < self.best_loss:
                self.best_loss = val_loss
                self.best_weights = self.model.state_dict().copy()
        self.model.load_state_dict(self.best_weights)


def make_data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    score = torch.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3], x[:, 4].abs() - x[:, 5]], dim=1)
    return TensorDataset(x, (score + 0.4 * torch.randn(n, 3, generator=generator)).argmax(dim=1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(300, seed=1), batch_size=20, shuffle=True)
    val_loader = DataLoader(make_data(200, seed=2), batch_size=50)
    test_loader = DataLoader(make_data(200, seed=3), batch_size=50)
    model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    trainer = Trainer(model)
    trainer.fit(train_loader, val_loader, epochs=20)
    print(f"best val {trainer.best_loss:.3f}, val now {trainer.evaluate(val_loader):.3f}, "
          f"test {trainer.evaluate(test_loader):.3f}")


if __name__ == "__main__":
    main()
