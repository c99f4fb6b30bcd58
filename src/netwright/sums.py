"""Running sums of the loss and the metrics, from which rows of metrics are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from netwright.tasks import Running

# Of outputs and targets of any number of samples, what the metrics are made of.
Tally = Callable[[Tensor, Tensor], Running]
Counted = Mapping[str, tuple[Tensor | float, Tensor | float]]  # as ``Running``, or in Python's own numbers
Pair = tuple[list[float], list[float]]  # of several batches
WAITING = 32  # batches
MOST_NUMBERS = 4_096  # in a batch's outputs


class Sums:
    """Running sums over samples, kept on the device: reading them is the only synchronisation.

    On the CPU an operation of torch on one number takes longer than a whole addition in Python, and three operations on
    a small batch as long as the forward pass of a small module. So the loss is summed up in Python, and metrics may
    wait for those of other batches; whoever reads the sums has all of it, to the bit.

    Args:
        loss: Sum of losses, and ``count`` what it is over: 0-d, float64 where the device has it.
        metrics: By name the sum of a metric and the count it is over.
    """

    __slots__ = ("_count", "_loss", "_metrics", "_on_cpu", "_partial", "_tally", "_waiting")

    def __init__(self, loss: Tensor, count: Tensor, metrics: dict[str, tuple[Tensor, Tensor]]) -> None:
        self._loss, self._count, self._metrics = loss, count, metrics
        self._on_cpu = loss.device.type == "cpu"
        self._partial: list[float] = []  # loss and count, where they are further than their tensors
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._tally: Tally | None = None

    @classmethod
    def zero(cls, device: torch.device) -> Sums:
        """Nothing seen yet."""
        return cls(_nothing(device), _nothing(device), {})

    @property
    def loss(self) -> Tensor:
        """The sum of losses."""
        self.settle()
        return self._loss

    @property
    def count(self) -> Tensor:
        """What the loss is over."""
        self.settle()
        return self._count

    @property
    def metrics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name the sum of a metric and the count it is over."""
        self.settle()
        return self._metrics

    def update(self, loss: Tensor, count: Tensor | int, metrics: Counted) -> None:
        """Add a batch: its mean loss times its count of targets, and what its metrics are made of."""
        if self._on_cpu:
            partial = self._partial or self._begun()
            counted = float(count)
            partial[0] += loss.item() * counted
            partial[1] += counted
        else:
            self._loss += loss * count
            self._count += count
        if metrics:
            self._add(metrics)

    def update_each(self, losses: list[float], count: int, metrics: Mapping[str, Pair]) -> None:
        """Add batches one after the other, as ``update`` does each, on the CPU."""
        partial = self._partial or self._begun()
        for loss in losses:
            partial[0] += loss * count
            partial[1] += count
        for name, each in metrics.items():
            for pair in zip(*each, strict=True):
                self._add({name: pair})

    def later(self, outputs: Tensor, targets: Tensor, tally: Tally) -> None:
        """Add what the metrics of a batch are made of, now or with those of other batches.

        Args:
            outputs: Without their graph; nothing may change them afterwards, nor the targets.
            tally: The same each time. It counts, so that it does not matter how batches are put together.
        """
        self._waiting.append((outputs, targets))
        self._tally = tally
        if len(self._waiting) >= WAITING or outputs.numel() > MOST_NUMBERS:
            self.settle()

    def settle(self) -> None:
        """Have all in the tensors, as before others write into them."""
        if self._partial:
            self._loss.fill_(self._partial[0])
            self._count.fill_(self._partial[1])
            self._partial = []
        if self._waiting and self._tally is not None:
            outputs, targets = (torch.cat(each) for each in zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._add(self._tally(outputs, targets))

    def _begun(self) -> list[float]:
        self._partial = [self._loss.item(), self._count.item()]
        return self._partial

    def _add(self, metrics: Counted) -> None:
        for name, (total, answers) in metrics.items():
            held = self._held(name)
            if self._on_cpu:  # without an operation of torch
                held[0].numpy()[()] += float(total)
                held[1].numpy()[()] += float(answers)
            else:
                held[0].add_(total)
                held[1].add_(answers)

    def _held(self, name: str) -> tuple[Tensor, Tensor]:
        if name not in self._metrics:
            self._metrics[name] = (_nothing(self._loss.device), _nothing(self._loss.device))
        return self._metrics[name]

    def held(self, name: str) -> tuple[Tensor, Tensor]:
        """The sums of a metric; zero where nothing was added yet."""
        self.settle()
        return self._held(name)

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


def _nothing(device: torch.device) -> Tensor:
    dtype = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return torch.zeros((), dtype=dtype, device=device)
