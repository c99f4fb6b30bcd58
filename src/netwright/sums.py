"""Running sums of the loss and the metrics, from which rows of metrics are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from netwright.tasks import Running


@dataclass(slots=True)
class Sums:
    """Running sums over samples, kept on the device: reading them is the only synchronisation.

    Attributes:
        loss: Sum of losses, and ``count`` what it is over.
        metrics: By name the sum of a metric and the count it is over.
    """

    loss: Tensor
    count: Tensor
    metrics: dict[str, tuple[Tensor, Tensor]]

    @classmethod
    def zero(cls, device: torch.device) -> Sums:
        """Nothing seen yet."""
        return cls(_nothing(device), _nothing(device), {})

    def update(self, loss: Tensor, count: Tensor | int, metrics: Running) -> None:
        """Add a batch: its mean loss times its count of targets, and what its metrics are made of."""
        if self.loss.device.type == "cpu":  # reading a number there costs less than an operation on it
            counted = float(count)
            _more(self.loss, float(loss) * counted)
            _more(self.count, counted)
            for name, (total, answers) in metrics.items():
                held = self.held(name)
                _more(held[0], float(total))
                _more(held[1], float(answers))
            return
        self.loss += loss * count
        self.count += count
        for name, (total, answers) in metrics.items():
            held = self.held(name)
            held[0].add_(total)
            held[1].add_(answers)

    def held(self, name: str) -> tuple[Tensor, Tensor]:
        """The sums of a metric; zero where nothing was added yet."""
        if name not in self.metrics:
            self.metrics[name] = (_nothing(self.loss.device), _nothing(self.loss.device))
        return self.metrics[name]

    def take(self, other: Sums) -> None:
        """Hold the values of other sums, in the same tensors as before."""
        self.loss.copy_(other.loss)
        self.count.copy_(other.count)
        for name, pair in self.metrics.items():
            for mine, theirs in zip(pair, other.held(name), strict=True):
                mine.copy_(theirs)

    def copied(self) -> Sums:
        """The same sums in tensors of their own."""
        metrics = {name: (total.clone(), count.clone()) for name, (total, count) in self.metrics.items()}
        return Sums(self.loss.clone(), self.count.clone(), metrics)

    def means(self) -> tuple[float, dict[str, float]]:
        """Mean loss and mean of each metric. Synchronises with the device."""
        held = {name: (total.item(), count.item()) for name, (total, count) in self.metrics.items()}
        means = {name: total / count if count else math.nan for name, (total, count) in held.items()}
        count = self.count.item()
        return (self.loss.item() / count if count else math.nan), means


def _more(held: Tensor, value: float) -> None:
    """Add to a 0-d tensor of the CPU without an operation of torch."""
    held.numpy()[()] += value


def _nothing(device: torch.device) -> Tensor:
    dtype = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return torch.zeros((), dtype=dtype, device=device)
