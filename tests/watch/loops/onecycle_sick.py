"""OneCycleLR with a horizon in batches, but stepped once an epoch: the rate never leaves its warm-up.

Expect: T06
"""
import hashlib

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 6


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.body(x))


def accuracy(model, loader):
    model.eval()
    hits = 0
    with torch.inference_mode():
        for x, y in loader:
            hits += (model(x).argmax(1) == y).sum().item()
    return hits / len(loader.dataset)


def main():
    torch.manual_seed(8)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    train, test = order[:1400], order[1400:]
    x = (x - x[train].mean()) / x[train].std()
    train_loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=50, shuffle=True)
    test_loader = DataLoader(TensorDataset(x[test], y[test]), batch_size=200)

    model = Net()
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}], lr=1e-3
    )
    scheduler = OneCycleLR(optimizer, max_lr=2e-2, epochs=EPOCHS, steps_per_epoch=len(train_loader))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for xb, yb in train_loader:
            loss = criterion(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=2.0)
            optimizer.step()
            total += loss.item() * len(xb)
        scheduler.step()
        lr = scheduler.get_last_lr()[0]
        score = accuracy(model, test_loader)
        print(f"epoch {epoch} loss {total / len(train)!r} lr {lr!r} accuracy {score!r}")
    weights = b"".join(v.numpy().tobytes() for v in model.state_dict().values())
    print("sha256", hashlib.sha256(weights).hexdigest())


if __name__ == "__main__":
    main()
