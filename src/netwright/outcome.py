"""What a forward pass gave, of a batch or of its parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netwright.sums import Counted


@dataclass(slots=True)
class Outcome:
    """What a forward pass gave: the loss, the count it was divided by, and what the metrics are made of.

    Attributes:
        outputs: Of which the metrics are to be counted later.
    """

    loss: Tensor
    count: Tensor | int
    metrics: Counted
    outputs: Tensor | None = None


def together(found: list[Outcome], total: Tensor | int) -> Outcome:
    """The outcome of a whole batch, of those of its parts, whose losses are their shares; at least one."""
    metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {}
    for outcome in found:
        for name, (value, answers) in outcome.metrics.items():
            held = metrics.get(name)
            metrics[name] = (value, answers) if held is None else (held[0] + value, held[1] + answers)
    outputs = [one.outputs for one in found if one.outputs is not None]
    return Outcome(
        torch.stack([one.loss for one in found]).sum(), total, metrics, torch.cat(outputs) if outputs else None
    )
