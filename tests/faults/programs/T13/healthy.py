"""Every batch starts from a fresh hidden state, as its sequences have nothing to do with the last
batch's."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SequenceClassifier(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(3, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, 3)

    def forward(self, x, hidden=None):
        outputs, hidden = self.gru(x, hidden)
        return self.fc(outputs[:, -1]), hidden


def make_data(n, seed):
    """Which of three channels has the largest sum over eight time steps?"""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, 3, generator=generator)
    return TensorDataset(x, x.sum(dim=1).argmax(dim=1))


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_data(800, seed=1), batch_size=40, shuffle=True)
    test_loader = DataLoader(make_data(200, seed=2), batch_size=40)
    model = SequenceClassifier()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(8):
        model.train()
        running_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            outputs, _ = model(x)
            loss = criterion(outputs, y)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(y)
        model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in test_loader:
                outputs, _ = model(x)
                correct += (outputs.argmax(dim=1) == y).sum().item()
        print(f"epoch {epoch + 1}: loss {running_loss / 800:.3f}, test accuracy {correct / 200:.3f}")


if __name__ == "__main__":
    main()
