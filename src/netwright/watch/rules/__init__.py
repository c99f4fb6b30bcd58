"""Faults of a training loop, read out of a trace. A rule is a function ``(trace, subjects) -> findings``."""

from __future__ import annotations

from typing import Any

from netwright.watch.rules import clipping, freezing, gradients, holders, iterators, modes, penalties
from netwright.watch.rules import evaluation

RULES: tuple[Any, ...] = (
    *holders.RULES,
    *gradients.RULES,
    *clipping.RULES,
    *iterators.RULES,
    *modes.RULES,
    *freezing.RULES,
    *penalties.RULES,
    *evaluation.RULES,
)
