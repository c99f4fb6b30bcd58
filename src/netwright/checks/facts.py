"""Plain facts that checks read: what an optimizer holds, and samples of a split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """One parameter group.

    Attributes:
        names: Of its parameters that are the module's; ``foreign`` counts those that are not.
        frozen: Of its parameters how many do not require a gradient.
        options: lr, weight_decay, betas …
    """

    names: tuple[str, ...]
    foreign: int
    frozen: int
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OptimizerFacts:
    """What is known of an optimizer.

    Attributes:
        kind: Its class name.
        doubled: Names of parameters that stand in it twice.
    """

    kind: str
    groups: tuple[GroupFacts, ...]
    doubled: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Of all parameters of the module that it holds."""
        return frozenset(name for group in self.groups for name in group.names)

    @property
    def lr(self) -> float | None:
        """The highest rate."""
        rates = [float(group.options["lr"]) for group in self.groups if "lr" in group.options]
        return max(rates, default=None)


def optimizer_facts(optimizer: torch.optim.Optimizer, model: nn.Module) -> OptimizerFacts:
    """What an optimizer holds of a module."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    groups, seen, doubled = [], set(), []
    for group in optimizer.param_groups:
        names = []
        for parameter in group["params"]:
            name = name_of.get(id(parameter))
            if id(parameter) in seen:
                doubled.append(name or "a foreign parameter")
            seen.add(id(parameter))
            names += [name] if name is not None else []
        groups.append(
            GroupFacts(
                names=tuple(names),
                foreign=len(group["params"]) - len(names),
                frozen=sum(not parameter.requires_grad for parameter in group["params"]),
                options={key: value for key, value in group.items() if key != "params"},
            )
        )
    return OptimizerFacts(type(optimizer).__name__, tuple(groups), tuple(doubled))


@dataclass(frozen=True, slots=True)
class Samples:
    """Up to some thousand samples of one split.

    Attributes:
        inputs: By field, each (N, ...) as the module gets them; ragged fields are padded, with ``lengths``.
        stored: By field as they were stored, where that differs (pixels as uint8); else the same arrays.
        targets: (N, ...), or None where they are not known.
        count: Samples in the whole split.
        ids: Index in the split of each.
        names: What to call each, where known.
        groups: Group of each, where known.
        lengths: Positions of each that are real, int64 (N,); None where all have one length.
        order: Targets in the order in which training saw them in its first pass; None where unknown.
    """

    inputs: dict[str, NDArray[Any]]
    targets: NDArray[Any] | None
    count: int
    ids: NDArray[Any]
    stored: dict[str, NDArray[Any]] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    lengths: NDArray[Any] | None = None
    order: NDArray[Any] | None = None
    texts: tuple[str, ...] | None = None

    @property
    def raw(self) -> dict[str, NDArray[Any]]:
        """As stored."""
        return self.stored or self.inputs

    def __len__(self) -> int:
        return len(self.ids)
