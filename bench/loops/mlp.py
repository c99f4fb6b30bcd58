"""A small network with steps of half a millisecond, where an observer weighs most; bench/faults.py runs it."""

import hashlib
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    torch.manual_seed(0)
    inputs = torch.randn(2000, 20)
    targets = (inputs[:, :3].sum(dim=1) > 0).long()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=32, shuffle=True)
    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    began, cpu_began = time.perf_counter(), time.process_time()
    for epoch in range(30):
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        print(f"epoch {epoch + 1}: loss {total / len(targets):.4f}")
    print(f"loop_seconds {time.perf_counter() - began:.4f} {time.process_time() - cpu_began:.4f}")
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in net.state_dict().values()))
    print(f"digest {digest.hexdigest()}")


if __name__ == "__main__":
    main()
