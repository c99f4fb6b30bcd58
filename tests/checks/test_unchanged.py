"""Checking changes nothing: weights, buffers, gradients, modes, requires_grad and random generators are as before."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn

import netwright as nw
from netwright.checks.runner import digest


class Net(nn.Module):
    """Buffers that move, dropout that draws, a frozen layer and a part in eval mode: all that could be touched."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(6, 8).requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.head(self.drop(torch.relu(self.norm(self.frozen(x)))))


def made() -> tuple[Net, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(3)
    targets = torch.randint(0, 3, (120,))
    return Net(), (torch.randn(120, 6) + targets[:, None], targets)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_nothing_of_the_module_changes() -> None:
    """The digest over parameters, buffers, gradients, modes and requires_grad is the same after as before."""
    net, data = made()
    net.norm.eval()
    net.head.weight.grad = torch.ones_like(net.head.weight)
    optimizer = torch.optim.Adam([one for one in net.parameters() if one.requires_grad], lr=0.003)
    before, lr = digest(net), optimizer.param_groups[0]["lr"]
    report = nw.check(net, data, loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    assert report.seconds > 0
    assert digest(net) == before
    assert optimizer.param_groups[0]["lr"] == lr
    assert not optimizer.state


def test_random_generators_are_as_before() -> None:
    """Python, NumPy and torch draw what they would have drawn."""
    net, data = made()
    loaded = nw.load(data)
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(11)
    expected = draws()
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(11)
    nw.check(net, loaded)
    assert draws() == expected


def test_the_digest_sees_each_kind_of_change() -> None:
    """It can fail: a buffer, a gradient, a mode and requires_grad each change it."""
    net, _ = made()
    seen = {digest(net)}
    net.calls += 1
    seen.add(digest(net))
    net.head.weight.grad = torch.zeros_like(net.head.weight)
    seen.add(digest(net))
    net.drop.eval()
    seen.add(digest(net))
    net.head.bias.requires_grad_(False)
    seen.add(digest(net))
    assert len(seen) == 5


def test_threads_and_default_dtype_are_as_before() -> None:
    """Settings of torch too."""
    net, data = made()
    threads = torch.get_num_threads()
    nw.check(net, data, threads=1)
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32
