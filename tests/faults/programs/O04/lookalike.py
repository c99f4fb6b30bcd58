"""The optimizer also steps two numbers that belong to no module, on purpose: they are the learnt weights
of the two losses and stand in a group of their own."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class TwoTasks(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.digit = nn.Linear(48, 10)
        self.ink = nn.Linear(48, 1)

    def forward(self, x):
        hidden = self.trunk(x)
        return self.digit(hidden), self.ink(hidden).squeeze(1)


def load():
    digits = load_digits()
    images = (torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.305) / 0.376
    labels = torch.tensor(digits.target)
    ink = images[:, 24:40].pow(2).mean(dim=1)               # how heavy the middle rows are
    ink = (ink - ink.mean()) / ink.std()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels, ink = images[order], labels[order], ink[order]
    return TensorDataset(images[:1400], labels[:1400], ink[:1400]), (images[1400:], labels[1400:], ink[1400:])


def main():
    torch.manual_seed(0)
    train_set, (test_images, test_labels, test_ink) = load()
    loader = DataLoader(train_set, batch_size=50, shuffle=True)
    model = TwoTasks()
    log_scales = nn.Parameter(torch.zeros(2))               # the weights of the two losses are learnt too
    optimizer = torch.optim.Adam([
        {"params": model.parameters()},
        {"params": [log_scales], "lr": 0.01},
    ], lr=0.003)
    for epoch in range(8):
        model.train()
        for images, labels, ink in loader:
            optimizer.zero_grad()
            logits, amount = model(images)
            losses = torch.stack([F.cross_entropy(logits, labels), F.mse_loss(amount, ink)])
            loss = (torch.exp(-log_scales) * losses + log_scales).sum()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits, amount = model(test_images)
        accuracy = (logits.argmax(dim=1) == test_labels).float().mean().item()
        error = (amount - test_ink).pow(2).mean().item()
        print(f"epoch {epoch + 1}: losses {losses[0].item():.3f} {losses[1].item():.3f}, "
              f"test accuracy {accuracy:.3f}, squared error {error:.3f}")


if __name__ == "__main__":
    main()
