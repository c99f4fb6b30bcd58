"""The table of positions is not in the state_dict, and need not be: it is a constant that the constructor
computes again, so the loaded model answers the same."""
import math
import os
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, length=12, size=16):
        super().__init__()
        rates = torch.exp(torch.arange(0, size, 2) * (-math.log(100.0) / size))
        angles = torch.arange(length)[:, None] * rates
        table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
        self.register_buffer("positions", table, persistent=False)
        self.embed = nn.Embedding(20, size)
        self.hidden = nn.Linear(size, 32)
        self.out = nn.Linear(32, 2)

    def forward(self, tokens):
        return self.out(torch.relu(self.hidden(self.embed(tokens) + self.positions)).mean(dim=1))


def make_data():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 20, (900, 12), generator=generator)
    early, late = (tokens[:, :6] > 12).sum(dim=1), (tokens[:, 6:] > 12).sum(dim=1)
    keep = early != late
    tokens, labels = tokens[keep][:640], (late > early).long()[keep][:640]
    return TensorDataset(tokens[:480], labels[:480]), TensorDataset(tokens[480:], labels[480:])


def evaluate(model, test_set):
    tokens, labels = test_set.tensors
    model.eval()
    with torch.no_grad():
        return (model(tokens).argmax(dim=1) == labels).float().mean().item()


def main():
    torch.manual_seed(0)
    train_set, test_set = make_data()
    loader = DataLoader(train_set, batch_size=40, shuffle=True)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(15):
        model.train()
        for tokens, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens), labels)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, test accuracy {evaluate(model, test_set):.3f}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.pt")
        torch.save(model.state_dict(), path)
        loaded = Net()
        loaded.load_state_dict(torch.load(path))
    print(f"loaded: test accuracy {evaluate(loaded, test_set):.3f}")


if __name__ == "__main__":
    main()
