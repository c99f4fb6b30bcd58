"""Does the future reach the past of a model of the next token or the next step? (M08)

Later positions are changed at three cuts and at two lengths, in eval and in train mode: what stands at earlier ones may
not move. Only where the targets are the inputs moved by one, since others may look ahead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.owners import walked_back
from netwright.checks.probes import Probe, answer_of, cut, gap, moved, probe_of, replaced
from netwright.checks.runner import Check
from netwright.checks.sequences import aim, by_position, time_inputs
from netwright.checks.sourcecode import class_place, source_line
from netwright.checks.subject import Inputs, NotCheckedError, Subject, copy_module, set_mode
from netwright.checks.traced import Traced, seeded_call, traced
from netwright.records import Finding

SHORT = 4
LEAK = 1e-4  # of the spread of answers; positions that are not reached stay bit by bit, or differ by rounding


@dataclass(frozen=True, slots=True)
class Leak:
    """Earlier answers that moved when later inputs changed."""

    cut: int
    length: int
    share: float
    away: float
    train: bool


def future_reaches_past(subject: Subject) -> Iterator[Finding]:
    """Find the input whose next entry is the target, and change its later positions."""
    probe = probe_of(subject)
    if not is_by_position(subject, probe):
        return
    name = next_of(subject, probe)
    if name is None:
        return
    leak = leak_of(probe, name)
    if leak is not None:
        yield _told(probe, name, leak)


def is_by_position(subject: Subject, probe: Probe) -> bool:
    """Whether an answer has a place for each position of an input, and targets are not one for each sample."""
    lengths = {probe.inputs[name].shape[1] for name in time_inputs(probe)}
    placed = any(by_position(probe.answer, probe.rows, length, axis=probe.axis) is not None for length in lengths)
    targets = subject.pool_targets
    return placed and not (isinstance(targets, Tensor) and targets.reshape(len(targets), -1).shape[1] == 1)


def next_of(subject: Subject, probe: Probe) -> str | None:
    """The input whose next entry each position is trained on; None where the task is another.

    Raises:
        NotCheckedError: What positions are trained on is not known.
    """
    targets = subject.pool_targets
    for name in time_inputs(probe):
        value = subject.pool[name]
        if isinstance(targets, Tensor) and value.is_floating_point() and targets.is_floating_point():
            wanted = targets.reshape(*targets.shape[:2], -1) if targets.ndim > 1 else targets
            if (
                wanted.shape == value.shape
                and float(value.std()) > 0
                and torch.allclose(wanted[:, :-1], value[:, 1:], atol=1e-5)
            ):
                return name
    if not any(not probe.inputs[name].is_floating_point() for name in time_inputs(probe)):
        return None
    found = aim(subject)
    return found[0] if found is not None and found[1] == 1 and found[0] in probe.inputs else None


def leak_of(probe: Probe, name: str) -> Leak | None:
    """The worst leak of cuts, lengths and modes; None where there is none.

    Raises:
        NotCheckedError: The answer has no axis of positions.
    """
    length = probe.inputs[name].shape[1]
    if by_position(probe.answer, probe.rows, length, axis=probe.axis) is None:
        raise NotCheckedError("the answer has no axis of positions")
    modes = (
        [False]
        if any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in probe.model.modules())
        else [False, True]
    )
    leaks: list[Leak] = []
    for train, size in itertools.product(modes, (length, SHORT)):
        if size > length:
            continue
        inputs = shortened(probe.inputs, name, size)
        try:
            leaks += _leaks(probe, name, inputs, size, train=train)
        except NotCheckedError:
            if size == length and not train:
                raise
    return max(leaks, key=lambda one: (one.length, one.share, one.away), default=None)


def shortened(inputs: Inputs, name: str, size: int) -> Inputs:
    """Inputs with the first positions only, of one input and of all others that have as many."""
    length = inputs[name].shape[1]
    return {
        key: cut(value, 1, size) if value.ndim > 1 and value.shape[1] == length and size < length else value
        for key, value in inputs.items()
    }


def _leaks(probe: Probe, name: str, inputs: Inputs, size: int, *, train: bool) -> Iterator[Leak]:
    before = by_position(_run(probe, inputs, train=train), probe.rows, size, axis=probe.axis)
    for at in sorted({size // 4, size // 2, size - 2}):
        after = by_position(
            _run(probe, _later(probe, name, inputs, at), train=train), probe.rows, size, axis=probe.axis
        )
        if before is None or after is None or before.shape != after.shape:
            continue
        past, new = before[:, : at + 1], after[:, : at + 1]
        scored = probe.subject.cache.get("scored")
        if scored is not None:  # a prefix that is not trained on may look ahead
            kept = [one for one in scored if one <= at]
            past, new = past[:, kept], new[:, kept]
            if not kept:
                continue
        away = gap(past, new)
        if away > LEAK * probe.spread:
            yield Leak(at, size, float(moved(past, new).flatten(2).any(dim=2).double().mean()), away, train)


def _later(probe: Probe, name: str, inputs: Inputs, at: int) -> Inputs:
    """Other contents behind a position."""
    value = inputs[name]
    size = value.shape[1]
    whole = replaced(probe.subject, probe.inputs, list(range(probe.rows)))[name][:, :size]
    same = (whole == value).flatten(2).all(dim=2) if value.ndim > 2 else whole == value
    if bool(same[:, at + 1 :].all()):
        whole = value.roll(1, 0)
    later = (torch.arange(size) > at).reshape(1, -1, *[1] * (value.ndim - 2))
    return {**inputs, name: torch.where(later, whole, value)}


def _run(probe: Probe, inputs: Inputs, *, train: bool) -> Tensor:
    if not train:
        return probe.run(inputs)
    model = set_mode(copy_module(probe.model), train=True)
    return answer_of(probe.subject, seeded_call(probe.subject, model, inputs))


def _told(probe: Probe, name: str, leak: Leak) -> Finding:
    mode = "train" if leak.train else "eval"
    evidence = (
        f"The targets are `{name}` moved by one. In {mode} mode I changed positions {leak.cut + 1} … "
        f"{leak.length - 1} of "
        f"{leak.length}: the answers at {leak.share:.0%} of the positions before moved, by up to {leak.away:.2g} "
        "(answers "
        f"spread by {probe.spread:.2g})"
    )
    trace, index = _where(probe, name, leak)
    if trace is None or index is None:
        return finding(
            "M08", evidence=f"{evidence}.", cure=_cure("", None), place=class_place(type(probe.subject.model))
        )
    op = trace.ops[index]
    inner = next((one for one in reversed(trace.around(index)) if one.name), None)
    named = f"; it gets there in `{source_line(op.place) or op.short}`"
    layer = trace.layer(index)
    return finding(
        "M08",
        evidence=f"{evidence}{named}.",
        cure=_cure(op.short, None if inner is None else inner.module, by_mode=_only_one_mode(probe, name)),
        place=op.place,
        layer=layer,
    )


def _only_one_mode(probe: Probe, name: str) -> bool:
    """Whether it depends on the mode."""
    inputs = probe.inputs
    size = inputs[name].shape[1]
    try:
        return len({bool(list(_leaks(probe, name, inputs, size, train=train))) for train in (False, True)}) == 2
    except NotCheckedError:
        return False


def _where(probe: Probe, name: str, leak: Leak) -> tuple[Traced | None, int | None]:
    """Follow the changed positions back to the operation that brings them forward in time."""
    sizes = {size for value in probe.inputs.values() for size in value.shape[2:]} | {probe.rows}
    size = next((one for one in (11, 13, 5, 7) if one <= leak.length and one not in sizes), leak.length)
    size = leak.length if leak.length <= SHORT else size
    inputs = shortened(probe.inputs, name, size)
    at = size // 2
    try:
        traces = []
        for one in (inputs, _later(probe, name, inputs, at)):
            model = set_mode(copy_module(probe.model), train=True) if leak.train else probe.ready()
            traces.append(traced(probe.subject, model, one))
        answer = probe.subject.found(traces[0].returned)
    except NotCheckedError:
        return None, None
    base, other = traces
    if [op.name for op in base.ops] != [op.name for op in other.ops] or not isinstance(answer, Tensor):
        return None, None

    def bad(index: int, place: int) -> bool:
        before, after = base.ops[index].tensors()[place], other.ops[index].tensors()[place]
        return _early(before, after, size, at)

    return base, walked_back(base, answer, bad)


def _early(before: Tensor, after: Tensor, size: int, at: int) -> bool:
    """Whether numbers moved that belong to positions up to one, by all axes that may be time."""
    if before.shape != after.shape or size not in before.shape:
        return False
    mask = moved(before, after)
    for axis in [axis for axis in range(mask.ndim) if mask.shape[axis] == size]:
        mask = mask.narrow(axis, 0, at + 1)
    return bool(mask.any())


def _cure(short: str, module: nn.Module | None, *, by_mode: bool = False) -> str:
    also = " In both modes, not by self.training." if by_mode else ""
    if short in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return f"bidirectional=False: the backward half has read what is to be told.{also}"
    if short == "scaled_dot_product_attention":
        return f"F.scaled_dot_product_attention(q, k, v, is_causal=True).{also}"
    if short == "multi_head_attention_forward" or isinstance(module, nn.MultiheadAttention):
        return (
            "mask = nn.Transformer.generate_square_subsequent_mask(x.size(1)), given as attn_mask=mask, or mask=mask, "
            f"is_causal=True to an encoder.{also}"
        )
    if short.startswith("conv"):
        return (
            "Pad on the left only: F.pad(x, (dilation * (kernel_size - 1), 0)), and padding=0 in the "
            f"convolution.{also}"
        )
    if short in ("softmax", "matmul", "bmm", "einsum"):
        return (
            f"scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf')) before the softmax.{also}"
        )
    return f"Position t may use positions 0 … t only: a causal mask, or a shift of the inputs.{also}"


CHECKS: tuple[Check, ...] = (Check("whether the future reaches the past", ("M08",), future_reaches_past, most_s=4.0),)
