"""Mixed precision on the CPU: forward and loss under bfloat16 autocast, float32 weights, no scaler needed."""
import hashlib

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 96), nn.LayerNorm(96), nn.GELU(), nn.Dropout(0.1), nn.Linear(96, 10)
        )

    def forward(self, x):
        return self.layers(x)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    correct = 0
    for x, y in loader:
        with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
            logits = model(x)
        correct += (logits.float().argmax(dim=-1) == y).sum().item()
    return correct / len(loader.dataset)


def main():
    torch.manual_seed(6)
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(x))
    train, test = order[:1400], order[1400:]
    x = (x - x[train].mean()) / x[train].std()
    train_loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=64, shuffle=True)
    test_loader = DataLoader(TensorDataset(x[test], y[test]), batch_size=128)

    model = MLP()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(5):
        model.train()
        total = 0.0
        for xb, yb in train_loader:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(xb), yb)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item() * len(xb)
        print(f"epoch {epoch + 1} loss {total / len(train)!r} accuracy {evaluate(model, test_loader)!r}")
    digest = hashlib.sha256(b"".join(p.numpy().tobytes() for p in model.state_dict().values()))
    print("sha256", digest.hexdigest())


if __name__ == "__main__":
    main()
