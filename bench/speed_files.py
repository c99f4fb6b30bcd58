"""Trainings from files: the first epoch, with reading and what is kept of it, apart from the later ones."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
EPOCHS = 2  # the first is told apart
RATE = 1e-3


def first(answer: Answer) -> float:
    """Samples a second in the first epoch."""
    return float(answer["count"] / answer["first_s"])


def later(answer: Answer) -> float:
    """Samples a second in the epochs after it."""
    return float(answer["samples"] / answer["seconds"])


def _answer(marks: list[float], began: float, count: int, loss: float) -> Answer:
    samples = (len(marks) - 1) * count
    return {
        "first_s": marks[0] - began,
        "seconds": marks[-1] - marks[0],
        "samples": samples,
        "loss": loss,
        "count": count,
    }


def by_hand(make_net: Callable[[], Any], loader: Any) -> Answer:
    """The loop as it is written by hand, over a loader that gives inputs and targets; inputs may be several."""
    import torch
    from torch import nn

    began, marks = time.perf_counter(), []
    net, loss_fn, count = make_net(), nn.CrossEntropyLoss(), len(loader.dataset)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    net.train()
    for _ in range(EPOCHS):
        total = 0.0
        for inputs, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(net(*inputs) if isinstance(inputs, (tuple, list)) else net(inputs), y)
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(y)
        marks.append(time.perf_counter())
    return _answer(marks, began, count, total / count)


def netwright(
    make_net: Callable[[], Any], load: Callable[[], Any], batch: int, *, again: bool = False, **options: Any
) -> Answer:
    """netwright's loop, with loading in its first epoch.

    Args:
        again: Whether what an earlier training kept of the files is there; else the store is new and empty.
    """
    with tempfile.TemporaryDirectory(prefix="netwright-bench-") as store:
        if not again:
            os.environ["NETWRIGHT_DATA"] = store
        return _netwright(make_net, load, batch, options)


def _netwright(make_net: Callable[[], Any], load: Callable[[], Any], batch: int, options: dict[str, Any]) -> Answer:
    import netwright as nw

    began, marks, total = time.perf_counter(), [], 0.0
    data, net = load(), make_net()
    count = len(data.train)
    asked = {"epochs": EPOCHS, "batch_size": batch, "optimizer": "AdamW", "lr": RATE} | options
    for step in nw.training_steps(net, data, **asked):
        total += float(step.loss) * len(step.batch)
        if step.epoch_end:
            marks.append(time.perf_counter())
            loss, total = total / count, 0.0
    return _answer(marks, began, count, loss)
