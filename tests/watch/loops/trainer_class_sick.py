"""A Trainer class: gradients are clipped only after the step, and the scheduler is made but never stepped.

Expect: T04, T06
"""
import hashlib

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 2 * 2, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(torch.flatten(x, 1))


class Trainer:
    def __init__(self, model, train_loader, valid_loader, lr=0.05, max_norm=1.0):
        self.model = model
        self.train_loader = train_loader
        self.valid_loader = valid_loader
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)
        self.max_norm = max_norm

    def fit(self, epochs):
        for epoch in range(1, epochs + 1):
            train_loss = self._train_epoch()
            valid_loss, valid_acc = self._valid_epoch()
            print(f"epoch {epoch} train {train_loss!r} valid {valid_loss!r} acc {valid_acc!r}")

    def _train_epoch(self):
        self.model.train()
        total, count = 0.0, 0
        for data, target in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(data), target)
            loss.backward()
            self.optimizer.step()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
            total += loss.item() * len(target)
            count += len(target)
        return total / count

    @torch.no_grad()
    def _valid_epoch(self):
        self.model.eval()
        total, correct, count = 0.0, 0, 0
        for data, target in self.valid_loader:
            output = self.model(data)
            total += self.criterion(output, target).item() * len(target)
            correct += (output.argmax(dim=1) == target).sum().item()
            count += len(target)
        return total / count, correct / count


def loaders():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    train, valid = order[:1400], order[1400:]
    x = (x - x[train].mean()) / x[train].std()
    return (DataLoader(TensorDataset(x[train], y[train]), batch_size=64, shuffle=True),
            DataLoader(TensorDataset(x[valid], y[valid]), batch_size=128))


if __name__ == "__main__":
    torch.manual_seed(2)
    trainer = Trainer(ConvNet(), *loaders())
    trainer.fit(epochs=5)
    weights = b"".join(v.numpy().tobytes() for v in trainer.model.state_dict().values())
    print("sha256", hashlib.sha256(weights).hexdigest())
