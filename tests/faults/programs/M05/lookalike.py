"""A contrastive loss compares each picture with the others of its batch on purpose. Only the loss looks
across the batch: the network embeds each picture by itself, so nothing leaks between samples."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, x):
        return F.normalize(self.layers(x), dim=1)


def data():
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32)
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:900], order[900:1200]
    mean, std = x[train].mean(), x[train].std()
    return ((x[train] - mean) / std, y[train]), ((x[test] - mean) / std, y[test])


def supervised_contrastive(embeddings, labels, temperature=0.2):
    itself = torch.eye(len(labels), dtype=torch.bool)
    similar = (embeddings @ embeddings.T / temperature).masked_fill(itself, -1e9)
    same = (labels[:, None] == labels[None, :]) & ~itself
    log_prob = F.log_softmax(similar, dim=1)
    return -(log_prob * same).sum(dim=1).div(same.sum(dim=1).clamp(min=1)).mean()


RECIPE = {"loss": supervised_contrastive, "optimizer": torch.optim.Adam, "lr": 0.003}


def main():
    torch.manual_seed(0)
    (train_x, train_y), (test_x, test_y) = data()
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    loader = DataLoader(TensorDataset(train_x, train_y), batch_size=100, shuffle=True)
    for epoch in range(10):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = supervised_contrastive(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        net.eval()
        with torch.no_grad():
            known = net(train_x)
            centres = torch.stack([known[train_y == digit].mean(dim=0) for digit in range(10)])
            accuracy = ((net(test_x) @ centres.T).argmax(dim=1) == test_y).float().mean()
        print(f"epoch {epoch + 1}: loss {total / len(train_y):.3f}, nearest-centre accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
