"""Gradient accumulation whose zero_grad runs at every micro-batch: three of four gradients are lost.

Expect: T02
"""
import hashlib

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

ACCUMULATION_STEPS = 4


def main():
    torch.manual_seed(4)
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(x))
    train, test = order[:1408], order[1408:]
    x = (x - x[train].mean()) / x[train].std()
    loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=16, shuffle=True)  # 88 micro-batches

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)

    for epoch in range(5):
        model.train()
        optimizer.zero_grad()
        epoch_loss = 0.0
        for i, (inputs, labels) in enumerate(loader):
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            epoch_loss += loss.item() * len(inputs)
            loss = loss / ACCUMULATION_STEPS
            loss.backward()
            if (i + 1) % ACCUMULATION_STEPS == 0:
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            accuracy = (model(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"epoch {epoch + 1} loss {epoch_loss / len(train)!r} accuracy {accuracy!r}")

    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.state_dict().values()))
    print("sha256", digest.hexdigest())


if __name__ == "__main__":
    main()
