"""Faults of a training loop, read out of a trace. A rule is a function ``(trace, subjects) -> findings``."""

from __future__ import annotations

from typing import Any

from netwright.watch.rules import gradients, holders, penalties

RULES: tuple[Any, ...] = (
    *holders.RULES,
    *gradients.RULES,
    *penalties.RULES,
)
