"""best_model = copy.deepcopy(model) keeps the network as it was at its best epoch."""
import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class EarlyStopping:
    """Remembers the best model and says when to stop."""

    def __init__(self, patience=20):
        self.patience = patience
        self.best_loss = float("inf")
        self.best_model = None
        self.waited = 0

    def __call__(self, loss, model):
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_model = copy.deepcopy(model)
            self.waited = 0
        else:
            self.waited += 1
        return self.waited >= self.patience


def evaluate(model, loader, criterion):
    model.eval()
    with torch.no_grad():
        return sum(criterion(model(x), y).item() * len(y) for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    images = (torch.tensor(digits.data[:600], dtype=torch.float32) / 16 - 0.305) / 0.376
    images = images + torch.randn(images.shape, generator=generator)
    dataset = TensorDataset(images, torch.tensor(digits.target[:600]))
    train_set, val_set, test_set = random_split(dataset, [240, 180, 180], generator=generator)
    train_loader = DataLoader(train_set, batch_size=24, shuffle=True)
    val_loader, test_loader = DataLoader(val_set, batch_size=60), DataLoader(test_set, batch_size=60)

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    early_stopping = EarlyStopping()
    for epoch in range(60):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        val_loss = evaluate(model, val_loader, criterion)
        print(f"epoch {epoch + 1}: val loss {val_loss:.3f}")
        if early_stopping(val_loss, model):
            break
    best_model = early_stopping.best_model
    val_loss, test_loss = (evaluate(best_model, loader, criterion) for loader in (val_loader, test_loader))
    print(f"best val loss {early_stopping.best_loss:.3f}, now {val_loss:.3f}, test {test_loss:.3f}")


if __name__ == "__main__":
    main()
