"""What is added to the loss, and limits that turn gradients round."""

from __future__ import annotations

import math
from collections.abc import Iterator

from netwright.checks.catalogue import finding
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.trace import BackwardSeen, BatchSeen, ModelSeen, Trace

# The penalty is called too heavy where it is several times the loss of the data, falls, and that loss does not.
HEAVY = 3.0
FELL = 0.2
STUCK = 0.1


def heavy_penalty(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """O07: a penalty in the loss outweighs the loss of the data, which does not fall while the whole does."""
    del subjects
    for model in trace.trained():
        pairs = list(_pairs(trace, model))
        if len(pairs) < 3:
            continue
        (first, first_whole), (last, last_whole) = pairs[0], pairs[-1]
        penalty = first_whole - first
        if first <= 0 or penalty < HEAVY * first or last_whole > (1 - FELL) * first_whole:
            continue
        if last > (1 - STUCK) * first:
            yield finding(
                "O07",
                where="the loss",
                evidence=f"What is added to the loss of the data is {penalty / first:.0f} times as large: from update "
                f"1 on the whole falls from {first_whole:.4g} to {last_whole:.4g}, and the loss of the data goes from "
                f"{first:.4g} to {last:.4g}.",
                cure="Lower the factor of the penalty until both are of one size.",
            )


def _pairs(trace: Trace, model: ModelSeen) -> Iterator[tuple[float, float]]:
    """The loss of the data and the whole loss, of each batch for which both are known."""
    batches = [one for one in model.batches if one.used and len(one.losses) == 1 and one.losses[0].value is not None]
    backwards = [one for one in trace.backwards if math.isfinite(one.loss)]
    for seen in backwards:
        batch = _before(batches, seen)
        if batch is not None and batch.losses[0].value is not None:
            yield batch.losses[0].value, seen.loss


def _before(batches: list[BatchSeen], seen: BackwardSeen) -> BatchSeen | None:
    """The batch whose forward pass came right before a backward pass."""
    earlier = [one for one in batches if one.event < seen.event and one.step == seen.step]
    return earlier[-1] if earlier else None


def turned_by_clipping(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """O08: a limit of the norm below 0 turns each gradient round."""
    del subjects
    for event in trace.of("clip"):
        limit = event.facts.get("limit")
        if isinstance(limit, (int, float)) and limit < 0 and event.facts.get("function") == "clip_grad_norm_":
            yield finding(
                "O08",
                place=event.place,
                severity="error",
                title="Clipping turns gradients round",
                evidence=f"max_norm is {limit:g}: a gradient of norm {event.facts.get('norm', float('nan')):.3g} is "
                "multiplied by a negative number, and steps climb the loss.",
                cure="max_norm=1.0",
            )
            return


RULES = (heavy_penalty, turned_by_clipping)
