"""Targets against what the loss takes them for: classes, amounts, padding.

``B`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netwright.checks import sweep
from netwright.checks.catalogue import finding
from netwright.checks.runner import Check
from netwright.checks.subject import Subject
from netwright.checks.tails import ending_of
from netwright.records import Finding


def labels_of(subject: Subject) -> np.ndarray[Any, Any] | None:
    """Classes of the training samples that were looked at, end to end; None where targets are no classes."""
    samples = subject.splits.get("train")
    if samples is not None and samples.targets is not None and samples.targets.dtype.kind in "iu":
        return samples.targets.reshape(-1)
    if isinstance(subject.pool_targets, Tensor) and not subject.pool_targets.is_floating_point():
        return subject.pool_targets.reshape(-1).numpy()
    return None


def kinds(subject: Subject) -> Iterator[Finding]:
    """L10, L14: numbers of classes are regressed on, or targets are far from scale 1."""
    ending = ending_of(subject)
    for tail in ending.tails:
        if tail.kind not in ("mse", "l1", "smooth_l1", "huber") or tail.target is None:
            continue
        target = tail.target.float()
        pool = subject.pool_targets if isinstance(subject.pool_targets, Tensor) else target
        yield from _ids(subject, pool)
        if subject.exact and target.numel() > 4:
            yield from _scale(subject, target)
        return


def _ids(subject: Subject, targets: Tensor) -> Iterator[Finding]:
    """Whole numbers from 0 or one-hot rows under a squared error, whose order means nothing in the inputs."""
    flat = targets.float()
    if flat.ndim == 2 and flat.shape[1] > 2 and bool(((flat == 0) | (flat == 1)).all()):
        if torch.allclose(flat.sum(1), torch.ones(len(flat))):
            yield finding(
                "L10",
                where=subject.loss_name or "the loss",
                severity="note",
                evidence=f"Targets are one-hot rows of {flat.shape[1]} classes under a squared error (the Brier "
                "score).",
                cure="CrossEntropyLoss on logits learns faster, unless the Brier score is meant.",
            )
        return
    values = flat.reshape(len(flat), -1)
    if values.shape[1] != 1 or not bool((flat == flat.round()).all()):
        return
    classes = torch.unique(flat)
    if not 3 <= len(classes) <= 30 or len(flat) < 5 * len(classes) or float(classes[0]) < 0:
        return
    if bool((classes != torch.arange(len(classes)) + classes[0]).any()):
        return
    ordered = _order_means_something(subject, values[:, 0])
    if ordered is None or ordered < 0.05:
        return
    yield finding(
        "L10",
        where=subject.loss_name or "the loss",
        evidence=f"Targets are the {len(classes)} whole numbers {int(classes[0])} to {int(classes[-1])}, learned with "
        "a squared "
        f"error as if they were amounts; classes beside each other are no more alike in the inputs than others (p = "
        f"{ordered:.2f}).",
        cure=f"{len(classes)} outputs with CrossEntropyLoss; where the order counts, keep the squared error.",
    )


def _order_means_something(subject: Subject, labels: Tensor) -> float | None:
    """Chance that class centres would lie in the order of their numbers as well as they do, were the numbers drawn."""
    fields = [value for value in subject.pool.values() if value.is_floating_point() and len(value) == len(labels)]
    if not fields:
        return None
    inputs = torch.cat([value.reshape(len(value), -1) for value in fields], 1)
    classes = torch.unique(labels)
    centres = torch.stack([inputs[labels == one].mean(0) for one in classes])
    far = torch.cdist(centres, centres)
    generator = np.random.default_rng(0)

    def agreement(order: np.ndarray[Any, Any]) -> float:
        gap = np.abs(order[:, None] - order[None])
        upper = np.triu_indices(len(order), 1)
        return float(np.corrcoef(gap[upper], far.numpy()[upper])[0, 1])

    own = agreement(np.arange(len(classes)))
    drawn = [agreement(generator.permutation(len(classes))) for _ in range(400)]
    return float(np.mean([value >= own for value in drawn]))


def _scale(subject: Subject, target: Tensor) -> Iterator[Finding]:
    """Targets far from scale 1, where the same steps on standardised targets explain far more of their variance."""
    mean, std = float(target.mean()), float(target.std())
    if not (std > 30 or (std > 0 and abs(mean) / std > 10)):
        return
    batches = sweep.batches_of(subject)
    steps = sweep.STEPS[1]
    plain = sweep.train(subject, batches, factor=1.0, steps=steps)
    scaled = sweep.train(
        subject, [(one, _standard(wanted, mean, std)) for one, wanted in batches], factor=1.0, steps=steps
    )
    own, other = plain.last / max(std * std, 1e-30), scaled.last
    if scaled.progress >= sweep.LEARNED and other < own / 3:
        yield finding(
            "L14",
            where="targets",
            evidence=f"Targets have mean {mean:.3g} and deviation {std:.3g}. After {steps} steps the loss is "
            f"{own:.3g} times "
            f"their variance; with targets standardised {other:.3g} times.",
            cure="Train on (targets - mean) / std, and undo it for answers.",
        )


def _standard(targets: Any, mean: float, std: float) -> Any:
    return (targets.float() - mean) / std if isinstance(targets, Tensor) else targets


def labels(subject: Subject) -> Iterator[Finding]:
    """L07: a class that never counts, one class alone, or outputs for classes that no label has."""
    ending = ending_of(subject)
    for tail in ending.tails:
        if tail.kind != "nll" or tail.given is None or tail.given.ndim < 2:
            continue
        ignored = tail.saved("ignore_index")
        classes = tail.given.shape[1]
        wanted = labels_of(subject)
        if wanted is None:
            continue
        counts = np.bincount(wanted[(wanted >= 0) & (wanted < classes)].astype(np.int64), minlength=classes)
        if counts.sum() >= 50 and (counts > 0).sum() == 1 and classes > 1:
            yield finding(
                "L07",
                where="targets",
                evidence=f"All {counts.sum():,} labels looked at are class {int(counts.argmax())}; there are "
                f"{classes} outputs.",
                cure="Look at the labels: were they divided, cast or overwritten on the way?",
            )
        if isinstance(ignored, int) and 0 <= ignored < classes:
            yield from _ignored(subject, ignored, counts)
        if (
            counts.sum() >= 20 * classes
            and counts[0] == 0
            and bool((counts[1:] > 0).all())
            and classes > 2
            and ignored != 0
        ):
            yield finding(
                "L07",
                where="targets",
                severity="warning",
                evidence=f"Labels go from 1 to {classes - 1} and there are {classes} outputs: output 0 belongs to no "
                "class.",
                cure="targets - 1, with one output less.",
            )
        return


def _ignored(subject: Subject, ignored: int, counts: np.ndarray[Any, Any]) -> Iterator[Finding]:
    """A real class that is ignored; as padding it would stand at the ends of sequences only."""
    share = counts[ignored] / max(1, counts.sum())
    targets = subject.pool_targets
    if share == 0 or not isinstance(targets, Tensor):
        return
    if targets.ndim > 1:
        hits = targets == ignored
        trailing = hits.flip(1).cumprod(1).flip(1).bool() if targets.ndim == 2 else hits
        if bool((hits == trailing).all()):
            return
        real = float((hits & ~trailing).float().sum() / hits.float().sum())
        if real < 0.05:
            return
    yield finding(
        "L07",
        where=f"ignore_index={ignored}",
        evidence=f"Class {ignored} never counts: ignore_index is {ignored}, and it is a real class ({share:.1%} of "
        "the labels).",
        cure="Leave out ignore_index, or give padding a number of its own: ignore_index=-100.",
    )


CHECKS: tuple[Check, ...] = (
    Check("labels against outputs", ("L07",), labels, 2.0),
    Check("the kind and scale of targets", ("L10", "L14"), kinds, 3.0),
)
