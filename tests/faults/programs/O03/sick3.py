"""The loss has learnable proxies of the classes but the optimizer is given the network only: the proxies
stay at their random places, some next to each other, and the loss stays high."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 4))

    def forward(self, x):
        return F.normalize(self.body(x), dim=1)


class ProxyLoss(nn.Module):
    """Each class has a learnt proxy; an embedding is drawn to the proxy of its class."""

    def __init__(self, classes, size, scale=8.0):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(classes, size))
        self.scale = scale

    def similarities(self, embeddings):
        return self.scale * embeddings @ F.normalize(self.proxies, dim=1).t()

    def forward(self, embeddings, labels):
        return F.cross_entropy(self.similarities(embeddings), labels)


def load():
    digits = load_digits()
    images = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def main():
    torch.manual_seed(3)
    train_set, test_set = load()
    train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
    test_images, test_labels = test_set.tensors
    net = Embedder()
    loss_fn = ProxyLoss(classes=10, size=4)
    opt = torch.optim.Adam(net.parameters(), lr=0.005)
    for epoch in range(8):
        net.train()
        losses = []
        for images, labels in train_loader:
            opt.zero_grad()
            loss = loss_fn(net(images), labels)
            loss.backward()
            opt.step()
            losses.append(loss.item())
        net.eval()
        with torch.no_grad():
            nearest = loss_fn.similarities(net(test_images)).argmax(dim=1)
        accuracy = (nearest == test_labels).float().mean().item()
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
