"""Faults of a training loop, read out of a trace. A rule is a function ``(trace, subjects) -> findings``."""

from __future__ import annotations

from typing import Any

from netwright.watch.rules import (
    accumulation,
    clipping,
    freezing,
    gradients,
    holders,
    iterators,
    kept,
    modes,
    penalties,
    schedule,
    updates,
)
from netwright.watch.rules import augmented, averages, deploying, evaluation, exports, loaders, measured, metrics, numbering, preprocessing, selection, truth, workers, written

RULES: tuple[Any, ...] = (
    *holders.RULES,
    *gradients.RULES,
    *clipping.RULES,
    *iterators.RULES,
    *modes.RULES,
    *freezing.RULES,
    *kept.RULES,
    *updates.RULES,
    *schedule.RULES,
    *accumulation.RULES,
    *penalties.RULES,
    *evaluation.RULES,
    *metrics.RULES,
    *written.RULES,
    *averages.RULES,
    *loaders.RULES,
    *workers.RULES,
    *numbering.RULES,
    *augmented.RULES,
    *preprocessing.RULES,
    *truth.RULES,
    *measured.RULES,
    *selection.RULES,
    *deploying.RULES,
    *exports.RULES,
)
