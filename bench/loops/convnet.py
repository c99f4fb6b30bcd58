"""The tutorial network on made-up pictures of the size of MNIST's, in the usual loop; bench/faults.py runs it."""

import hashlib
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "tutorial"))
from net import Net


def main():
    torch.manual_seed(0)
    labels = torch.randint(10, (1280,))
    images = torch.randn(10, 1, 28, 28)[labels] + 0.5 * torch.randn(1280, 1, 28, 28)
    loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    net = Net()
    loss_fn = nn.NLLLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    began, cpu_began = time.perf_counter(), time.process_time()
    for epoch in range(2):
        net.train()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        print(f"epoch {epoch + 1}: loss {total / len(labels):.4f}")
    print(f"loop_seconds {time.perf_counter() - began:.4f} {time.process_time() - cpu_began:.4f}")
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in net.state_dict().values()))
    print(f"digest {digest.hexdigest()}")


if __name__ == "__main__":
    main()
