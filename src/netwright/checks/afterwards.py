"""A softmax or a reshape between the answer and the loss, in the script or in the loss function. (M01, M02, M04)

The operations are those that the script was seen to do after its first forward pass; of a module with data they are
recorded while its loss is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.optrace import Op, record, tensors_in
from netwright.checks.probes import probe_of
from netwright.checks.reshapes import Reshape, exchanged, reshaped, told_of
from netwright.checks.runner import Check
from netwright.checks.softmaxes import CLOSE, Softmax, softmax_behind, softmaxes
from netwright.checks.sourcecode import source_line
from netwright.checks.subject import NotCheckedError, Subject, pick
from netwright.records import Finding

OF_CLASSES = frozenset({"nll_loss", "cross_entropy", "nll_loss_nd"})


def between_answer_and_loss(subject: Subject) -> Iterator[Finding]:
    """Look at what is done with the answer before it is a loss."""
    ops = _ops(subject)
    if not ops:
        return
    found = list(softmaxes(ops))
    yield from _of_one(ops, found)
    yield from _of_wrong_axis(ops, found)
    yield from _torn(ops)


def _ops(subject: Subject) -> list[Op]:
    seen = subject.cache.get("loss_ops_seen")
    if seen is not None:
        return list(seen)
    probe = probe_of(subject)
    if subject.objective is None or subject.pool_targets is None:
        return []
    answer = subject.found(subject.call(probe.ready(), probe.inputs))
    targets = pick(subject.pool_targets, slice(0, probe.rows))
    try:
        return record(lambda: subject.loss_of(answer, probe.inputs, targets, grad=False))[1]
    except NotCheckedError:
        return []


def _of_one(ops: list[Op], found: list[Softmax]) -> Iterator[Finding]:
    """M02: the only column of an answer."""
    for one in found:
        if (
            one.op.place is None
            or one.out.shape[one.axis] != 1
            or one.out.numel() < 2
            or not _from_outside(ops, one.given)
        ):
            continue
        yield finding(
            "M02",
            evidence=f"`{source_line(one.op.place)}` takes {one.op.short} over axis {one.axis} of the answer "
            f"{tuple(one.out.shape)}, which has one entry: the result is {0 if one.log else 1} whatever comes in.",
            cure="One unit for yes or no: torch.sigmoid, or BCEWithLogitsLoss on the answer itself.",
            place=one.op.place,
        )
        return


def _from_outside(ops: list[Op], tensor: Tensor) -> bool:
    """Whether none of the operations made a tensor: it came out of the model."""
    return not any(one is tensor for op in ops for one in tensors_in(op.out))


def _of_wrong_axis(ops: list[Op], found: list[Softmax]) -> Iterator[Finding]:
    """M01: what a loss of classes gets must sum to 1 over the classes, axis 1, and not over another."""
    makers = {id(tensor): index for index, op in enumerate(ops) for tensor in tensors_in(op.out)}
    for op in ops:
        given = op.tensors()
        if (
            op.short not in OF_CLASSES
            or len(given) < 2
            or not given[0].is_floating_point()
            or given[1].is_floating_point()
        ):
            continue
        one = softmax_behind(ops, given[0], makers.get(id(given[0])), found)
        if one is None or one.op.place is None:
            continue
        probs = given[0].detach().double()
        probs = probs.exp() if one.log or bool((probs < -CLOSE).any()) else probs
        axis = 1 if probs.ndim > 1 else 0
        sums = probs.sum(dim=axis)
        own = one.probs.detach().double().sum(dim=one.axis)
        if bool(((sums - 1).abs() < CLOSE).all()) or bool(((own - 1).abs() > CLOSE).any()) or probs.shape[axis] < 2:
            continue
        yield finding(
            "M01",
            evidence=f"`{source_line(one.op.place)}` takes {one.op.short} over axis {one.axis} of "
            f"{tuple(one.out.shape)}; over the "
            f"classes, axis {axis} of what the loss gets, the probabilities add up to {float(sums.min()):.2f} … "
            f"{float(sums.max()):.2f} and not to 1.",
            cure="F.log_softmax(outputs, dim=1) before NLLLoss, and no softmax at all before CrossEntropyLoss.",
            place=one.op.place,
        )
        return


def _torn(ops: list[Op]) -> Iterator[Finding]:
    """M04: a reshape of the answer that reads as an exchange of axes, as (B, C, T) viewed as (B * T, C)."""
    told: set[Any] = set()
    for op in ops:
        before = reshaped(op)
        if before is None or op.place is None or op.place in told or not isinstance(op.out, Tensor):
            continue
        if exchanged(before, tuple(op.out.shape), 0) is not None:
            told.add(op.place)
            yield told_of(Reshape(before, tuple(op.out.shape), op.place, None, op.short))


CHECKS: tuple[Check, ...] = (
    Check("what is done between answer and loss", ("M01", "M02", "M04"), between_answer_and_loss, most_s=2.0),
)
