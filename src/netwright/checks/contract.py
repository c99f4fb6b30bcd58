"""What the module emits against what its loss takes: activations applied twice, missing, or out of targets' reach.

Read from the graph of the loss on the person's own batch, in train mode. ``B`` is the number of samples, ``C`` of
classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from netwright.checks.catalogue import finding
from netwright.checks.runner import Check
from netwright.checks.subject import Subject
from netwright.checks.tails import BOUNDS, Ending, Tail, ending_of, rows_sum_to_one
from netwright.records import Finding

OUT_OF_REACH = 0.02  # share of targets that a sound output activation may leave out of reach, for noise in them
SOFTMAX_TAKES = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Tanh": "tanh"}


def applied_twice(subject: Subject) -> Iterator[Finding]:
    """L01, L02, L03, L04, L05: what stands right before the loss's own softmax or sigmoid."""
    ending = ending_of(subject)
    for tail in ending.tails:
        if tail.kind == "nll":
            yield from _of_classes(ending, tail)
        elif tail.kind == "bce_logits":
            yield from _of_logits(ending, tail)
        elif tail.kind == "bce":
            yield from _of_flags(ending, tail)
    yield from _of_named(subject, ending)


def _of_classes(ending: Ending, tail: Tail) -> Iterator[Finding]:
    given = tail.given
    if given is None:
        return
    classes = given.shape[1] if given.ndim > 1 else 1
    if classes == 1:
        yield finding(
            "L05",
            place=ending.place("linear"),
            evidence=f"Cross entropy gets one column: its softmax is 1.000 for all {len(given)} samples, so the loss "
            "is "
            f"{_number(ending.loss)} and stays there.",
            cure="One output for each class with CrossEntropyLoss, or BCEWithLogitsLoss on the one column.",
        )
        return
    chain = tail.chain
    if chain[:1] == ("LogSoftmax",):
        yield from _before_softmax(ending, chain[1:], classes, len(given))
        return
    sums = given.detach().double().exp().sum(1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        what = "probabilities" if rows_sum_to_one(given) else "values that are no log-probabilities"
        yield finding(
            "L04",
            place=ending.place("nll_loss", "linear"),
            evidence=f"NLLLoss gets {what}: exp of a row sums to {float(sums.median()):.3g} and not to 1, and the "
            "loss is "
            f"{_number(ending.loss)}.",
            cure="CrossEntropyLoss on the logits, or log_softmax(x, dim=1) before NLLLoss.",
        )


def _before_softmax(ending: Ending, chain: tuple[str, ...], classes: int, rows: int) -> Iterator[Finding]:
    """What stands before the softmax that the loss applies."""
    last = chain[0] if chain else ""
    if last == "LogSoftmax":
        yield from _redundant(ending)
    elif last in ("Softmax", "Sigmoid", "Tanh"):
        width = 2.0 if last == "Tanh" else 1.0
        floor = math.log(1 + (classes - 1) * math.exp(-width))
        name = SOFTMAX_TAKES[last]
        fact = f"are ≥ 0 and sum to 1 ({rows} of {rows} samples)" if last == "Softmax" else f"come out of a {name}"
        yield finding(
            "L01",
            place=ending.place(name),
            evidence=f"Outputs {fact}, and the loss takes a softmax of them again: with {classes} classes it cannot "
            "fall "
            f"below {floor:.3f}; now {_number(ending.loss)}.",
            cure=f"Return the logits: leave out the {name}. For probabilities take softmax(dim=1) of the answer.",
            severity="error" if last == "Softmax" else "warning",
            title=None if last == "Softmax" else f"{name.capitalize()} before a loss that applies softmax",
        )


def _redundant(ending: Ending) -> Iterator[Finding]:
    """log_softmax twice: the same loss and gradient, shown on the batch."""
    answer = ending.answer.detach().clone()
    flat = answer.reshape(-1, answer.shape[-1]) if answer.ndim != 2 else answer
    targets = torch.arange(len(flat)) % flat.shape[1]
    losses, slopes = [], []
    for twice in (False, True):
        leaf = flat.clone().requires_grad_()
        loss = functional.nll_loss(functional.log_softmax(leaf, 1) if twice else leaf, targets)
        whole = functional.log_softmax(leaf, 1)
        functional.nll_loss(functional.log_softmax(whole, 1) if twice else whole, targets).backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        slopes.append(leaf.grad)
    apart = float((slopes[0] - slopes[1]).abs().max()) if slopes[0] is not None and slopes[1] is not None else 0.0
    yield finding(
        "L02",
        place=ending.place("log_softmax"),
        evidence=f"Harmless: with and without the second log_softmax the loss of this batch is {losses[0]:.6f} and "
        f"{losses[1]:.6f}, and gradients differ by at most {apart:.0e}.",
        cure="Return the logits, or take NLLLoss: either computes the same with one softmax less.",
    )


def _of_logits(ending: Ending, tail: Tail) -> Iterator[Finding]:
    last = tail.chain[0] if tail.chain else ""
    target = tail.target
    if last in ("Sigmoid", "Softmax"):
        yield finding(
            "L03",
            place=ending.place(last.lower()),
            evidence=f"The loss takes a sigmoid of what came out of a {last.lower()}: probabilities end in [0.500, "
            "0.731], "
            "and the loss cannot fall below 0.313 for a positive and 0.693 for a negative; now "
            f"{_number(ending.loss)}.",
            cure=f"Return the logits: leave out the {last.lower()}.",
        )
    elif last == "LogSoftmax":
        yield finding(
            "L04",
            place=ending.place("log_softmax"),
            evidence="The loss takes a sigmoid of log-probabilities, which are never above 0: no answer exceeds 0.5.",
            cure="Return the logits: leave out the log_softmax.",
        )
    yield from _flags(ending, target)


def _of_flags(ending: Ending, tail: Tail) -> Iterator[Finding]:
    yield from _flags(ending, tail.target)


def _flags(ending: Ending, target: Tensor | None) -> Iterator[Finding]:
    """Targets of a binary loss that are neither 0, nor 1, nor between."""
    if target is None or not target.numel():
        return
    low, high = float(target.min()), float(target.max())
    if low >= 0 and high <= 1:
        return
    values = sorted(set(target.flatten()[:2000].tolist()))
    shown = ", ".join(f"{value:g}" for value in values[:6])
    classes = [value for value in values if value == int(value) and value >= 0]
    if low < 0:
        yield finding(
            "L07",
            place=ending.place("binary_cross_entropy_with_logits", "binary_cross_entropy"),
            evidence=f"A binary loss gets targets {shown}: it takes 0 and 1, and falls below 0 here "
            f"({_number(ending.loss)}).",
            cure="targets = (targets > 0).float()",
        )
    else:
        yield finding(
            "L05",
            place=ending.place("binary_cross_entropy_with_logits", "binary_cross_entropy"),
            evidence=f"Targets are {shown}: {len(classes)} classes on a loss of yes and no, which takes 0 and 1.",
            cure=f"{int(high) + 1} outputs with CrossEntropyLoss.",
        )


def _of_named(subject: Subject, ending: Ending) -> Iterator[Finding]:
    """Losses that leave no node of their own: KL divergence, cross entropy of rows of targets, swapped arguments."""
    name, answer, targets = subject.loss_name.casefold().replace("_", ""), ending.answer, ending.targets
    if name in ("kldivloss", "kldiv") and "Log" not in ending.chain[:1] and "LogSoftmax" not in ending.chain[:1]:
        sums = answer.detach().double().exp().sum(-1)
        if not torch.allclose(sums, torch.ones_like(sums), atol=1e-3) and rows_sum_to_one(answer):
            yield finding(
                "L04",
                place=ending.place("kl_div", "softmax"),
                evidence="KLDivLoss takes log-probabilities and gets probabilities: the loss is "
                f"{_number(ending.loss)}.",
                cure="log_softmax(x, dim=1) in place of softmax(x, dim=1).",
            )
    yield from _swapped(subject, ending)
    if ending.tails or not isinstance(targets, Tensor) or not targets.is_floating_point() or targets.ndim != 2:
        return
    if "crossentropy" in name and targets.shape == answer.shape:
        sums = targets.sum(1)
        flags = bool(((targets == 0) | (targets == 1)).all())
        if flags and targets.shape[1] > 1 and not torch.allclose(sums, torch.ones_like(sums)):
            yield finding(
                "L05",
                place=ending.place("cross_entropy"),
                evidence=f"Rows of targets hold {int(sums.min())} to {int(sums.max())} ones of {targets.shape[1]}: "
                "several "
                "labels a sample, which cross entropy has compete for one probability.",
                cure="BCEWithLogitsLoss on the same logits.",
            )
        elif targets.shape[1] == 1:
            yield finding(
                "L05" if flags else "L10",
                severity="error",
                title=None if flags else "A loss of classes on real numbers",
                place=ending.place("cross_entropy"),
                evidence=f"Cross entropy gets one column: its softmax is 1.000 for every sample and the loss "
                f"{_number(ending.loss)} whatever the network answers.",
                cure="MSELoss or HuberLoss for real numbers, BCEWithLogitsLoss for yes and no.",
            )


def _swapped(subject: Subject, ending: Ending) -> Iterator[Finding]:
    """Cross entropy that is given the truth first: its softmax is taken of what needs no gradient."""
    for op in ending.loss_ops:
        if op.short != "cross_entropy" or len(op.args) < 2:
            continue
        first, second = op.args[0], op.args[1]
        if (
            isinstance(first, Tensor)
            and isinstance(second, Tensor)
            and second.requires_grad
            and not first.requires_grad
        ):
            yield finding(
                "L04",
                place=op.place,
                evidence="cross_entropy(input, target) gets the truth as input and the network's output as target: "
                "the loss "
                f"is {_number(ending.loss)}, and has no lower bound.",
                cure="loss_fn(outputs, targets): outputs first.",
            )
            return
    del subject


def out_of_reach(subject: Subject) -> Iterator[Finding]:
    """M17: the last activation bounds the answer, and targets lie outside of its bounds; or it cuts logits."""
    ending = ending_of(subject)
    last = ending.chain[0] if ending.chain else ""
    for tail in ending.tails:
        if tail.kind in ("mse", "l1", "smooth_l1", "huber") and tail.target is not None and tail.chain:
            yield from _unreachable(ending, tail.chain[0], tail.target)
        elif (
            tail.kind == "nll"
            and tail.chain[:2] == ("LogSoftmax", "Relu")
            or tail.kind == "bce_logits"
            and tail.chain[:1] == ("Relu",)
        ):
            yield _cut_logits(ending)
    targets = ending.targets
    if (
        not ending.tails
        and isinstance(targets, Tensor)
        and targets.is_floating_point()
        and subject.task == "regression"
    ):
        yield from _unreachable(ending, last, targets)
    yield from _hidden_softmax(ending)


def _unreachable(ending: Ending, last: str, target: Tensor) -> Iterator[Finding]:
    if last not in BOUNDS or not target.is_floating_point():
        return
    low, high = BOUNDS[last]
    below, above = float((target < low).float().mean()), float((target > high).float().mean())
    if below + above <= OUT_OF_REACH:
        return
    bounds = f"≥ {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
    yield finding(
        "M17",
        place=ending.place(last.lower()),
        evidence=f"Outputs are {bounds} after {last.lower()}; {below + above:.0%} of the targets are not (they go from "
        f"{float(target.min()):.3g} to {float(target.max()):.3g}).",
        cure=f"Leave out the last {last.lower()}.",
    )


def _cut_logits(ending: Ending) -> Finding:
    share = float((ending.answer.detach() == 0).float().mean())
    return finding(
        "M17",
        place=ending.place("relu", "relu_"),
        severity="warning",
        title="ReLU on logits",
        evidence=f"The logits come out of a ReLU: {share:.0%} of them are 0, get no gradient, and no class can be "
        "called "
        "unlikely.",
        cure="Leave out the last ReLU.",
    )


def _hidden_softmax(ending: Ending) -> Iterator[Finding]:
    """A softmax whose result goes straight into a linear layer is a hidden activation; attention multiplies values."""
    for before, op in zip(ending.ops, ending.ops[1:], strict=False):
        if before.short != "softmax" or op.short != "linear" or not op.args or op.args[0] is not before.out:
            continue
        values = before.out
        if isinstance(values, Tensor) and values.ndim == 2 and values.shape[1] >= 8:
            yield finding(
                "M17",
                place=before.place,
                severity="warning",
                title="Softmax as a hidden activation",
                evidence=f"{values.shape[1]} hidden units share a sum of 1: they are "
                f"{float(values.detach().mean()):.3f} on "
                f"average and vary by {float(values.detach().std(0).mean()):.4f} from sample to sample.",
                cure="ReLU or GELU between hidden layers.",
            )
            return


def _number(loss: Tensor | None) -> str:
    return "unknown" if loss is None else f"{float(loss.detach()):.4g}"


CHECKS: tuple[Check, ...] = (
    Check("outputs against the loss", ("L01", "L02", "L03", "L04", "L05", "L07", "L10"), applied_twice, 3.0),
    Check("the last activation", ("M17",), out_of_reach, 3.0),
)
