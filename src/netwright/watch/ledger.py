"""Of which backward passes each gradient is made, and which of them an optimizer has used already.

A gradient is known by the identity and the version of its tensor: both are cheap to read, and both change when torch
adds to it, clears it or replaces it. Values are looked at only where something writes unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from netwright.watch.looks import plain, version

MOST_SLOTS = 24  # parameters of each optimizer that are followed, spread evenly over all of them
MOST_HELD = 128  # backward passes of which a gradient remembers that it is their sum
MOST_ERASED = 20_000
MOST_LOOKS = 64  # looks at values of each optimizer; a loop does the same again and again
UNKNOWN = -1  # stands for a gradient that was put there by hand

How = Literal["growing", "unseen", "cleared", "scaled"]


@dataclass(slots=True)
class Holding:
    """What the gradients of some parameters are made of.

    Attributes:
        backwards: Numbers of the backward passes, in order; -1 for what was put there by hand.
        used: How many of the first of them an earlier step of this optimizer has used already.
        touched: Whether something wrote to them after a step had used them, as to let them decay.
        share: Of the optimizer's parameters that are followed.
        parameters: Numbers of these parameters, counted over all groups; empty where it is all.
    """

    backwards: tuple[int, ...]
    used: int
    touched: bool
    share: float
    parameters: tuple[int, ...]

    @property
    def fresh(self) -> tuple[int, ...]:
        """Those that no step has used."""
        return self.backwards[self.used :]


@dataclass(frozen=True, slots=True)
class Erased:
    """Gradients of an optimizer that were cleared before any of its steps had used them.

    Attributes:
        backwards: Numbers of the backward passes.
        at: Backward passes done by then.
        event: Place in the list of events by then.
        moved: Whether the weights had moved since: somebody used the gradients without a step.
    """

    optimizer: int
    backwards: tuple[int, ...]
    at: int
    event: int
    moved: bool


@dataclass(slots=True)
class Slot:
    """One parameter of one optimizer."""

    parameter: Tensor
    number: int
    stamp: tuple[int, int] | None = None
    weight: int = 0  # version of the parameter when its gradient last grew
    held: list[int] = field(default_factory=list)
    used: int = 0
    touched: bool = False


class Ledger:
    """The gradients of all optimizers."""

    def __init__(self) -> None:
        self.slots: dict[int, list[Slot]] = {}
        self.most = MOST_SLOTS
        self.counts: dict[int, int] = {}
        self.grown = 0  # times that an optimizer was new or had got more parameters
        self.looks: dict[int, tuple[int, int]] = {}
        self.erased: list[Erased] = []

    def follow(self, number: int, optimizer: Any) -> None:
        """Follow an optimizer's parameters; again where it has got more."""
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        if self.counts.get(number) == count:
            return
        self.counts[number] = count
        self.grown += 1
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        every = max(1, -(-count // self.most))
        known = {id(slot.parameter): slot for slot in self.slots.get(number, ())}
        chosen = [(at, parameters[at]) for at in range(0, count, every)]
        self.slots[number] = [known.get(id(one)) or Slot(one, at) for at, one in chosen]
        for slot in self.slots[number]:
            grad = slot.parameter.grad
            slot.stamp = None if grad is None else (id(grad), version(grad))

    def resume(self) -> None:
        """Look again after turns that were not looked at: of gradients that wait for a step, parts may be unknown."""
        for slots in self.slots.values():
            for slot in slots:
                grad = slot.parameter.grad
                slot.stamp = None if grad is None else (id(grad), version(grad))
                if grad is None:
                    slot.held, slot.used, slot.touched = [], 0, False
                elif len(slot.held) > slot.used or not slot.held:
                    slot.held, slot.used = [UNKNOWN], 0

    def thin(self) -> None:
        """Follow the first, a middle and the last parameter of each optimizer only: a loop repeats itself."""
        self.most = 3
        for number, slots in self.slots.items():
            if len(slots) > 3:
                self.slots[number] = [slots[0], slots[len(slots) // 2], slots[-1]]

    def sync(self, how: How, *, at: int = 0, event: int = 0) -> None:
        """Take in what happened to the gradients since the last look.

        Args:
            how: Why they may have changed: they were cleared, or clipped and unscaled, by torch; ``growing`` where a
                backward pass is about to add to them; else unseen.
            at: Backward passes so far.
            event: Place in the list of events.
        """
        for number, slots in self.slots.items():
            lost: set[int] = set()
            moved = False
            for slot in slots:
                grad = slot.parameter.grad
                stamp = None if grad is None else (id(grad), version(grad))
                if stamp == slot.stamp:
                    if how == "growing" and slot.used and grad is not None and self._is_zero(number, grad):
                        _clear(slot, lost)  # through .data, which leaves no trace in the version
                    continue
                if grad is None or how == "cleared" or (how != "scaled" and self._is_zero(number, grad)):
                    moved = moved or (len(slot.held) > slot.used and version(slot.parameter) != slot.weight)
                    _clear(slot, lost)
                elif how != "scaled":
                    _written(slot, stamp)
                slot.stamp = stamp
            if lost and len(self.erased) < MOST_ERASED:
                self.erased.append(Erased(number, tuple(sorted(lost)), at, event, moved))

    def _is_zero(self, number: int, grad: Tensor) -> bool:
        looks, zeros = self.looks.get(number, (0, 0))
        if not plain(grad):
            return False
        if looks >= MOST_LOOKS * MOST_SLOTS or grad.numel() > 1_000_000:
            return 2 * zeros > looks
        zero = not bool(grad.any())
        self.looks[number] = looks + 1, zeros + zero
        return zero

    def added(self, backward: int) -> tuple[int, ...]:
        """Note that a backward pass has run; the optimizers whose gradients it changed."""
        reached = []
        for number, slots in self.slots.items():
            grew = False
            for slot in slots:
                parameter = slot.parameter
                grad = parameter.grad
                stamp = None if grad is None else (id(grad), version(grad))
                if stamp == slot.stamp:
                    continue
                grew = True
                slot.stamp = stamp
                slot.weight = version(parameter)
                held = slot.held
                held.append(backward)
                if slot.used and len(held) > MOST_HELD:
                    del held[0]
                    slot.used -= 1
            if grew:
                reached.append(number)
        return tuple(reached)

    def holdings(self, number: int) -> tuple[Holding, ...]:
        """What the gradients of an optimizer are made of, the most frequent first."""
        alike: dict[tuple[tuple[int, ...], int, bool], list[int]] = {}
        slots = self.slots.get(number, [])
        first = slots[0] if slots else None
        if first is not None and first.stamp is not None and not first.touched:
            held, used = first.held, first.used
            for slot in slots:
                if slot.held != held or slot.used != used or slot.touched or slot.stamp is None:
                    break
            else:  # as nearly always: one kind
                return (Holding(tuple(held), used, False, 1.0, ()),)
        for slot in slots:
            if slot.stamp is not None:
                alike.setdefault((tuple(slot.held), slot.used, slot.touched), []).append(slot.number)
        found = [
            Holding(held, used, touched, len(numbers) / len(slots), tuple(numbers))
            for (held, used, touched), numbers in alike.items()
        ]
        return tuple(sorted(found, key=lambda one: -one.share))

    def use(self, number: int) -> None:
        """Note that a step of the optimizer has used its gradients, and take what it wrote to them as its own."""
        for slot in self.slots.get(number, ()):
            slot.used = len(slot.held)
            grad = slot.parameter.grad
            slot.stamp = None if grad is None else (id(grad), version(grad))

    def pending(self, parameters: Iterable[int]) -> tuple[int, int, int]:
        """Of parameters (ids): how many are followed, hold a gradient that no step has used, hold a used one."""
        wanted = frozenset(parameters)
        slots = [slot for slots in self.slots.values() for slot in slots if id(slot.parameter) in wanted]
        fresh = sum(len(slot.held) > slot.used for slot in slots if slot.stamp is not None)
        spent = sum(0 < len(slot.held) <= slot.used for slot in slots if slot.stamp is not None)
        return len(slots), fresh, spent


def _written(slot: Slot, stamp: tuple[int, int] | None) -> None:
    """Something of the script's wrote to a gradient, or put another there."""
    slot.touched = slot.touched or 0 < len(slot.held) == slot.used
    if slot.stamp is None or stamp is None or slot.stamp[0] != stamp[0]:
        slot.held, slot.used = [UNKNOWN], 0


def _clear(slot: Slot, lost: set[int]) -> None:
    if len(slot.held) > slot.used:
        lost.update(one for one in slot.held[slot.used :] if one != UNKNOWN)
    slot.held, slot.used, slot.touched = [], 0, False
