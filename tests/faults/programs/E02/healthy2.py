"""The logits go through a sigmoid before they are compared with 0.5."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class RiskModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.net(x).squeeze(1)


def make_patients(n, seed):
    """Eight standardised measurements; the outcome is only partly determined by them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    logits = 0.8 * x[:, 0] - 0.6 * x[:, 1] + 0.6 * x[:, 2].abs() - 0.5
    return TensorDataset(x, torch.bernoulli(torch.sigmoid(3 * logits), generator=generator))


def evaluate(model, loader):
    model.eval()
    correct = true_positives = positives = 0
    with torch.no_grad():
        for x, y in loader:
            predicted = (torch.sigmoid(model(x)) > 0.5).float()
            correct += (predicted == y).sum().item()
            true_positives += (predicted * y).sum().item()
            positives += y.sum().item()
    return correct / len(loader.dataset), true_positives / positives


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_patients(1000, seed=1), batch_size=40, shuffle=True)
    val_loader = DataLoader(make_patients(400, seed=2), batch_size=100)
    model = RiskModel()
    loss_fn = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(8):
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        accuracy, recall = evaluate(model, val_loader)
        print(f"epoch {epoch + 1}: loss {total / 1000:.3f}, accuracy {accuracy:.3f}, recall {recall:.3f}")


if __name__ == "__main__":
    main()
