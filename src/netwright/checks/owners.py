"""Which sample reaches which number: every operation is done again with one sample changed, and what moves is its.

``S`` samples are changed one after the other. A tensor is in order where each of its numbers is reached by one sample
and one axis tells which; where a number is reached by two, samples were mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netwright.checks.optrace import Op, tensors_in
from netwright.checks.probes import Probe, moved, replaced
from netwright.checks.subject import NotCheckedError
from netwright.checks.traced import Span, Traced

State = Literal["none", "ordered", "disordered", "scrambled", "mixed"]
ASTRAY: tuple[State, ...] = ("mixed", "scrambled", "disordered")
RESHAPES = frozenset({"view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "resize_", "ravel"})


@dataclass(frozen=True, slots=True)
class Owned:
    """A tensor's state, and the axis that tells the samples apart, where there is one."""

    state: State
    axis: int | None = None


@dataclass(slots=True)
class Owners:
    """One trace as it is, and one for each sample that was changed."""

    base: Traced
    others: list[Traced]
    rows: int
    known: dict[tuple[str, int, int], Owned]

    def out(self, index: int, at: int = 0) -> Owned:
        """Of a tensor that an operation returned."""
        return self._owned("out", index, at, [tensors_in(one.ops[index].out) for one in (self.base, *self.others)])

    def given(self, index: int, at: int) -> Owned:
        """Of a tensor that an operation was given."""
        return self._owned("arg", index, at, [one.ops[index].tensors() for one in (self.base, *self.others)])

    def entered(self, span: Span, at: int = 0) -> Owned:
        """Of a tensor that a submodule was given."""
        number = next(where for where, one in enumerate(self.base.spans) if one is span)
        return self._owned("span", number, at, [one.spans[number].given for one in (self.base, *self.others)])

    def _owned(self, kind: str, index: int, at: int, tensors: list[list[Tensor]]) -> Owned:
        key = (kind, index, at)
        if key not in self.known:
            if any(at >= len(one) for one in tensors):
                self.known[key] = Owned("none")
            else:
                self.known[key] = owned([one[at] for one in tensors], self.rows)
        return self.known[key]


def owners_of(probe: Probe) -> Owners:
    """Trace a probe as it is and with each of some samples changed.

    Raises:
        NotCheckedError: It does other operations when a sample changes.
    """
    base = probe.trace(probe.inputs)
    names = [op.name for op in base.ops]
    others = []
    for row in sorted({0, 1, probe.rows // 2, probe.rows - 1}):
        one = probe.trace(replaced(probe.subject, probe.inputs, [row]))
        if [op.name for op in one.ops] != names or len(one.spans) != len(base.spans):
            raise NotCheckedError("the module does other operations for other samples")
        others.append(one)
    return Owners(base, others, probe.rows, {})


def owned(tensors: list[Tensor], rows: int) -> Owned:
    """How samples lie in a tensor, given it as it is and with each sample changed."""
    base, *changed = tensors
    if any(one.shape != base.shape for one in changed) or base.ndim == 0 or base.is_sparse:
        return Owned("none")
    masks = [mask for mask in (moved(base, one) for one in changed) if bool(mask.any())]
    if not masks:
        return Owned("none")
    total = torch.stack(masks).sum(dim=0)
    if bool((total > 1).any()):
        return Owned("mixed")
    if len(masks) == 1:
        return Owned("none")
    axes = sorted(range(base.ndim), key=lambda axis: base.shape[axis] % rows != 0)
    for axis in axes:
        lines = [mask.movedim(axis, 0).flatten(1).any(dim=1) if base.ndim > 1 else mask for mask in masks]
        if int(torch.stack(lines).sum(dim=0).max()) <= 1:
            first = [int(line.nonzero()[0]) for line in lines]
            return Owned("ordered" if first == sorted(first) else "disordered", axis)
    return Owned("scrambled")


def origin(owners: Owners, answer: Tensor) -> int | None:
    """The operation in which the samples first went astray on the way to an answer; None where it is not seen."""
    return walked_back(owners.base, answer, lambda index, at: owners.given(index, at).state in ASTRAY)


def walked_back(trace: Traced, answer: Tensor, bad: Callable[[int, int], bool]) -> int | None:
    """From what made an answer back along arguments that are bad, to the operation that was given none.

    Args:
        bad: Of the index of an operation and the place of a tensor among what it was given.
    """
    index = trace.maker(answer)
    while index is not None:
        before = next(
            (
                maker
                for at, tensor in enumerate(trace.ops[index].tensors())
                if (maker := trace.maker(tensor, before=index)) is not None and maker < index and bad(index, at)
            ),
            None,
        )
        if before is None:
            return index
        index = before
    return None


def is_reshape(op: Op) -> bool:
    """Whether an operation only cuts the same numbers into other axes."""
    return op.short in RESHAPES
