"""Statistics of frozen normalisations that still move, and frozen weights that an optimizer writes to."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from netwright.checks.sourcecode import Place
from netwright.watch.looks import plain, real

MOST_NORMS = 512
MOST_NUMBERS = 20_000_000  # of written parameters whose values are kept, all together
SUMMED = 8  # parameters of a frozen part that are summed up, to see whether somebody changes them by hand


@dataclass(slots=True)
class NormSeen:
    """A batch normalisation in train mode whose own parameters are frozen, when it was first seen so.

    Attributes:
        layer: Its name in the model; ``part`` the largest part around it that is frozen as a whole, empty for all.
        mean, var: Its statistics then.
        grad: Whether the graph was on; else the model was called under ``no_grad``.
        sums: Some parameters of the part with the sums of their values.
        step: Optimizer steps done before.
    """

    model: int
    layer: str
    part: str
    module: nn.Module
    mean: Tensor
    var: Tensor
    grad: bool
    sums: list[tuple[Tensor, float]]
    step: int
    place: Place | None


@dataclass(slots=True)
class WrittenSeen:
    """A parameter without ``requires_grad`` that an optimizer wrote to.

    Attributes:
        value: As it was after the first such step; ``steps`` how many there were.
    """

    parameter: Tensor
    optimizer: int
    value: Tensor
    place: Place | None
    steps: int = 1


@dataclass(slots=True)
class Frozen:
    """What was seen so far: normalisations by id, written parameters by id."""

    norms: dict[int, NormSeen] = field(default_factory=dict)
    written: dict[int, WrittenSeen] = field(default_factory=dict)
    due: dict[int, tuple[int, int]] = field(default_factory=dict)
    numbers: int = 0

    def is_due(self, model: int, forwards: int, loader: tuple[int, int]) -> bool:
        """Whether to look at a model: at its first passes, then at each pass over a loader and ever more rarely."""
        if forwards < 4 or forwards & (forwards - 1) == 0 or self.due.get(model) != loader:
            self.due[model] = loader
            return True
        return False

    def look(self, root: nn.Module, model: int, *, grad: bool, step: int, place: Place | None) -> None:
        """Remember the statistics of frozen normalisations that are in train mode."""
        for name, module in root.named_modules():
            if not isinstance(module, nn.modules.batchnorm._BatchNorm) or not module.training:
                continue
            if id(module) in self.norms or module.running_mean is None or len(self.norms) >= MOST_NORMS:
                continue
            if module.running_var is None or nn.parameter.is_lazy(module.running_mean):
                continue
            if grad and any(one.requires_grad for one in module.parameters()):
                continue
            part = _frozen_part(root, name) if grad else ""
            if part is None:
                continue
            parameters = [one for one in root.get_submodule(part).parameters() if plain(one)]
            self.norms[id(module)] = NormSeen(
                model, name, part, module, module.running_mean.detach().clone(), module.running_var.detach().clone(),
                grad, [(one, summed(one)) for one in parameters[:SUMMED]], step, place,
            )  # fmt: skip

    def wrote(self, parameter: Tensor, optimizer: int, place: Place | None) -> None:
        """An optimizer wrote to a frozen parameter."""
        seen = self.written.get(id(parameter))
        if seen is not None:
            seen.steps += 1
        elif len(self.written) < MOST_NORMS and self.numbers + parameter.numel() <= MOST_NUMBERS:
            self.numbers += parameter.numel()
            self.written[id(parameter)] = WrittenSeen(parameter, optimizer, parameter.detach().clone(), place)


def summed(parameter: Tensor) -> float:
    """The sum of a tensor's values."""
    with torch.no_grad():
        return float(real(parameter.detach()).double().sum())


def _frozen_part(root: nn.Module, layer: str) -> str | None:
    """The largest part around a layer with parameters of which none requires a gradient; None where there is none."""
    found: str | None = None
    name = layer
    while True:
        part = root.get_submodule(name)
        parameters = list(part.parameters())
        if any(one.requires_grad for one in parameters):
            return found
        if parameters and (name != layer or not name):  # the norm alone is no part
            found = name
        if not name:
            return found
        name = name.rpartition(".")[0]
