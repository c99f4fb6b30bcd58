"""How a loss is made one number: broadcasting, sums, signs and weights.

``B`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netwright.checks import sweep
from netwright.checks.catalogue import finding
from netwright.checks.optrace import Op
from netwright.checks.runner import Check
from netwright.checks.subject import NotCheckedError, Subject
from netwright.checks.tails import Ending, ending_of
from netwright.checks.targets import labels_of
from netwright.records import Finding

# Operations that pair their operands value by value, so that shapes that differ are spread against each other.
PAIRING = frozenset({
    "sub", "__sub__", "__rsub__", "rsub", "add", "__add__", "__radd__", "mul", "__mul__", "__rmul__", "div",
    "__truediv__", "true_divide", "eq", "__eq__", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "where", "minimum", "maximum",
})  # fmt: skip
WEIGHING = frozenset({"mul", "__mul__", "__rmul__"})
ADDS_AXIS = frozenset({"unsqueeze", "__getitem__", "view", "reshape", "expand", "unflatten", "outer"})


def broadcast(subject: Subject) -> Iterator[Finding]:
    """L06: (B, 1) paired with (B,) gives (B, B): every output is compared with every target."""
    ending = ending_of(subject)
    for ops in (subject.cache.get("loss_ops_seen", ()), ending.loss_ops):
        made = {id(op.out) for op in ops if op.short in ADDS_AXIS}  # an axis that was added on purpose, for pairs
        for op in ops:
            if op.short in PAIRING and (found := _spread(op, made)) is not None:
                yield _broadcast(op, *found, ending)
                return


def _spread(op: Op, made: set[int]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The two shapes that were spread against each other by accident; None where they were not."""
    operands = [one for one in (*op.args[:3], *op.kwargs.values()) if isinstance(one, Tensor)]
    if len(operands) < 2 or not isinstance(op.out, Tensor):
        return None
    first, second = operands[0], operands[1]
    weighing = op.short in WEIGHING and first.data_ptr() != second.data_ptr()
    if {id(first), id(second)} & made and not weighing:  # differences of all pairs are asked for in this way
        return None
    long, flat = (first, second) if first.ndim > second.ndim else (second, first)
    rows = len(long) if long.ndim else 0
    accident = (
        long.ndim == 2
        and flat.ndim == 1
        and rows > 1
        and tuple(long.shape) == (rows, 1)
        and tuple(flat.shape) == (rows,)
    )
    return (tuple(first.shape), tuple(second.shape)) if accident else None


def _broadcast(op: Op, first: tuple[int, ...], second: tuple[int, ...], ending: Ending) -> Finding:
    rows = first[0]
    targets = ending.targets
    spread = ""
    if isinstance(targets, Tensor) and targets.is_floating_point() and targets.numel() > 1:
        spread = (
            f" The best that this loss allows is to answer the mean: its floor is about {float(targets.var()):.3g}."
        )
    return finding(
        "L06",
        place=op.place,
        evidence=f"{first} and {second} became ({rows}, {rows}): {rows * rows:,} pairs where {rows} are meant.{spread}",
        cure="outputs.squeeze(-1), or targets.unsqueeze(-1): the same shape on both sides.",
    )


def grows(subject: Subject) -> Iterator[Finding]:
    """L09: the loss doubles when each sample is given twice, so the rate depends on the batch size."""
    if not subject.exact or subject.objective is None:
        raise NotCheckedError("the whole loss is not known")
    inputs, targets = subject.rows(min(32, subject.pool_size))
    model = subject.fresh()
    once = float(subject.loss(model, inputs, targets, grad=False))
    twice_inputs = {name: torch.cat([value, value]) for name, value in inputs.items()}
    twice = float(subject.loss(model, twice_inputs, _times(targets, 2), grad=False))
    size = subject.batch_size or len(next(iter(inputs.values())))
    if once == 0 or size < 8:
        return
    ratio = twice / once
    if abs(ratio - 2) < 0.02:
        harm = _sum_hurts(subject)
        yield finding(
            "L09",
            where=subject.loss_name or "the loss",
            severity="warning" if harm else "note",
            evidence=f"Each sample given twice, the loss goes from {once:.4g} to {twice:.4g}: it is a sum, and with "
            "batches of "
            f"{size} every step is {size} times as large as the rate says.{harm}",
            cure='reduction="mean", or divide by the number of samples.',
        )
    elif abs(ratio - 1) > 0.02 and ratio > 1.02:
        more = {name: torch.cat([value] * 3) for name, value in inputs.items()}
        thrice = float(subject.loss(model, more, _times(targets, 3), grad=False))
        yield from _part_grows(subject, once, twice, thrice, size)


def _times(targets: Any, count: int) -> Any:
    if isinstance(targets, dict):
        return {name: _times(value, count) for name, value in targets.items()}
    return torch.cat([targets] * count) if isinstance(targets, Tensor) else targets


def _sum_hurts(subject: Subject) -> str:
    """That a rate divided by the batch learns ten times as much, as a sentence; empty where it does not."""
    try:
        found = sweep.sweep_of(subject)
    except NotCheckedError:
        return ""
    own, best = found.by_factor[1.0], found.by_factor[found.best]
    if found.best < 1 and best.progress >= sweep.LEARNED and own.progress < best.progress / sweep.FAR:
        return f" {found.steps} steps end at: {found.table()}."
    return ""


def _part_grows(subject: Subject, once: float, twice: float, thrice: float, size: int) -> Iterator[Finding]:
    """Part of the loss is a sum over the batch, part a mean: their balance hangs on the batch size."""
    share = (twice - once) / abs(once)  # of the loss that grows in proportion to the batch
    if not 0.02 < share < 0.98 or abs((thrice - twice) - (twice - once)) > 0.05 * (twice - once):
        return  # a loss over pairs of the batch grows too, but not in proportion
    yield finding(
        "L09",
        where=subject.loss_name or "the loss",
        title="Part of the loss grows with the batch",
        evidence=f"Each sample given twice, the loss goes from {once:.4g} to {twice:.4g}: {share:.0%} of it is a sum "
        "over the "
        f"batch and the rest a mean, so with batches of {size} one part outweighs the other.",
        cure="Take the mean over samples of both parts.",
    )


def climbs(subject: Subject) -> Iterator[Finding]:
    """L11: the steps make a loss of torch larger."""
    ending = ending_of(subject)
    facts = subject.optimizer
    maximize = facts is not None and any(group.options.get("maximize") for group in facts.groups)
    for tail in ending.tails:
        if tail.kind in ("nll", "bce", "bce_logits", "mse", "l1") and (tail.sign < 0) != maximize:
            why = "maximize=True" if maximize else "the loss is handed over with a minus sign"
            rises = _rise(subject, maximize=maximize, sign=tail.sign)
            if rises is None:
                continue
            yield finding(
                "L11",
                place=ending.place("neg", "__neg__"),
                evidence=f"{why}: three small steps on one batch move {tail.kind} {rises}.",
                cure="Leave out maximize=True." if maximize else "loss.backward(), without the minus.",
            )
            return
    yield from _similarity(subject, ending)


def _rise(subject: Subject, *, maximize: bool, sign: int) -> str | None:
    """The three losses of torch along three small steps, where they rise."""
    try:
        batch = sweep.batches_of(subject)[:1]
        done = sweep.train(subject, batch, factor=0.1, steps=3)
    except NotCheckedError:
        return None
    shown = [value * sign for value in done.losses]
    del maximize
    return " → ".join(f"{value:.4g}" for value in shown) if len(shown) == 3 and shown[-1] > shown[0] else None


def _similarity(subject: Subject, ending: Ending) -> Iterator[Finding]:
    """A loss of the person's own that is lower for wrong answers than for the truth itself."""
    targets, answer, loss = ending.targets, ending.answer.detach(), ending.loss
    if ending.tails or loss is None or not isinstance(targets, Tensor) or subject.objective is None:
        return
    if subject.optimizer is not None and any(group.options.get("maximize") for group in subject.optimizer.groups):
        return
    truths = _truths(answer, targets, subject.num_classes)
    inputs, _ = subject.rows(min(64, subject.pool_size))
    for right, wrong in truths:
        try:
            good = float(subject.loss_of(right, inputs, targets, grad=False))
            bad = float(subject.loss_of(wrong, inputs, targets, grad=False))
        except NotCheckedError:
            continue
        if math.isfinite(good) and math.isfinite(bad) and good > bad + 0.05 * (abs(good) + abs(bad)):
            yield finding(
                "L11",
                where=subject.loss_name or "the loss",
                evidence=f"Handed the truth itself the loss is {good:.4g}; handed the opposite it is {bad:.4g}, which "
                "is lower: "
                "training moves away from the truth.",
                cure="return 1 - similarity, or -log_likelihood.",
            )
            return


def _truths(answer: Tensor, targets: Tensor, num_classes: int | None) -> list[tuple[Tensor, Tensor]]:
    """Answers that are right and wrong, in the forms that an answer may have."""
    found: list[tuple[Tensor, Tensor]] = []
    flags = targets.is_floating_point() and targets.shape == answer.shape
    if flags and bool(((targets == 0) | (targets == 1)).all()):
        inside = bool(((answer >= 0) & (answer <= 1)).all())
        if inside:
            found.append((targets.clone(), 1 - targets))
        found.append(((targets * 2 - 1) * 6, (1 - targets * 2) * 6))
    elif not targets.is_floating_point() and answer.ndim == 2 and targets.ndim == 1 and (num_classes or 2) > 1:
        classes = answer.shape[1]
        if classes > 1 and int(targets.max()) < classes and int(targets.min()) >= 0:
            right = torch.full_like(answer, -3.0).scatter(1, targets[:, None], 3.0)
            wrong = torch.full_like(answer, -3.0).scatter(1, ((targets + 1) % classes)[:, None], 3.0)
            if answer.requires_grad or not bool((answer <= 0).all()):
                found.append((right, wrong))
            found.append((right.log_softmax(1), wrong.log_softmax(1)))
            found.append((right.softmax(1), wrong.softmax(1)))
    elif flags and _distributions(answer.exp()):  # log-probabilities, as KLDivLoss takes them
        found.append((targets.clamp_min(1e-6).log(), targets.flip(-1).clamp_min(1e-6).log()))
    elif flags and float(targets.std()) > 0:
        found.append((targets.clone(), targets.flip(0) + 3 * targets.std()))
    return found


def _distributions(rows: Tensor) -> bool:
    """Whether each row sums to 1."""
    return rows.ndim == 2 and rows.shape[1] > 1 and bool(((rows.sum(1) - 1).abs() < 1e-4).all())


def weights(subject: Subject) -> Iterator[Finding]:
    """L13: class weights that are higher for commoner classes; pos_weight below 1 where positives are rare."""
    ending = ending_of(subject)
    for tail in ending.tails:
        weight = tail.saved("weight")
        if tail.kind == "nll" and isinstance(weight, Tensor):
            yield from _class_weights(subject, weight.detach())
        pos = tail.saved("pos_weight")
        if tail.kind == "bce_logits" and isinstance(pos, Tensor) and isinstance(subject.pool_targets, Tensor):
            share = float((subject.pool_targets.float() > 0.5).float().mean())
            if pos.numel() == 1 and float(pos) < 0.7 and share < 0.3:
                yield finding(
                    "L13",
                    where="pos_weight",
                    evidence=f"{share:.1%} of the targets are positive and each counts {float(pos):.3g}: rare "
                    "positives are "
                    "made rarer.",
                    cure=f"pos_weight=torch.tensor({(1 - share) / max(share, 1e-6):.3g}), negatives over positives.",
                )


def _class_weights(subject: Subject, weight: Tensor) -> Iterator[Finding]:
    targets = labels_of(subject)
    if targets is None or weight.numel() < 2 or float(weight.min()) == float(weight.max()):
        return
    counts = np.bincount(targets[targets >= 0].astype(np.int64), minlength=weight.numel())[: weight.numel()]
    if counts.min() == 0 or counts.max() < 2 * counts.min():
        return
    from scipy.stats import spearmanr

    value = float(spearmanr(counts, weight.numpy()).statistic)
    if value > 0.8:
        table = ", ".join(f"{at}: {count} × {float(weight[at]):.3g}" for at, count in list(enumerate(counts))[:5])
        yield finding(
            "L13",
            where="class weights",
            evidence=f"The commoner a class, the more it counts (samples × weight by class: {table}; rank correlation "
            f"{value:.2f}).",
            cure="weight = counts.sum() / (len(counts) * counts)",
        )


CHECKS: tuple[Check, ...] = (
    Check("shapes in the loss", ("L06",), broadcast, 2.0),
    Check("the sign of the loss", ("L11",), climbs, 2.0),
    Check("class weights", ("L13",), weights, 2.0),
)
# After the sweep of rates, which it asks.
LATE: tuple[Check, ...] = (Check("the reduction of the loss", ("L09",), grows, 6.0),)
