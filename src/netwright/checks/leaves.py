"""Which tensors a module's answer is made of: the leaves of its graph, and where the module keeps them.

Shared by the checks of parameters, gradients and optimizers.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from netwright.checks.optrace import tensors_in
from netwright.checks.sourcecode import Place, file_of, persons, place_of_frame
from netwright.checks.subject import Inputs, NotCheckedError, Subject

MOST_NODES = 50_000
# Functions whose derivative is 0 wherever it is defined: what lies behind them learns nothing.
FLAT = frozenset(
    f"{name}Backward{at}" for name in ("Round", "Sign", "Sgn", "Floor", "Ceil", "Trunc", "Heaviside") for at in (0, 1)
)


@dataclass(frozen=True, slots=True)
class Training:
    """What a watched training was seen to do with a module's parameters, by name.

    Attributes:
        learned: Got a gradient or other values.
        moved: Have other values at the end.
        loaded: Belong to a module that ``load_state_dict`` was called of.
        owned: Ids of all tensors that optimizers hold which stepped.
        called: Submodules that were also called from outside the module.
        fed: Whether its inputs are another module's outputs.
        second: Whether ``torch.autograd.grad`` was called, as for gradients of gradients.
    """

    learned: frozenset[str] = frozenset()
    moved: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    owned: frozenset[int] = frozenset()
    called: frozenset[str] = frozenset()
    fed: bool = False
    second: bool = False


@dataclass(slots=True)
class Pass:
    """One call: what it returned, the leaves that this is made of, and which modules were called.

    Attributes:
        leaves: By id.
        calls: By the id of a module how many rows its first tensor had in each of its calls.
        strangers: Modules that were called and are not registered, with the line of the call.
    """

    returned: Any
    leaves: dict[int, Tensor] = field(default_factory=dict)
    calls: dict[int, list[int]] = field(default_factory=dict)
    strangers: list[tuple[nn.Module, Place | None]] = field(default_factory=list)


@dataclass(slots=True)
class Reach:
    """Three calls of one copy: two in train mode, one in eval mode.

    Attributes:
        model: The copy that was called; ``inputs`` what it got.
        before: Values of its parameters before these calls.
        settled: Names of the parameters that are the same as before.
    """

    model: nn.Module
    inputs: Inputs
    passes: list[Pass]
    settled: frozenset[str]

    @property
    def reached(self) -> frozenset[int]:
        """Ids of all leaves."""
        return frozenset(one for each in self.passes for one in each.leaves)


def training(subject: Subject) -> Training | None:
    """What a watched training did; None where there was none."""
    found: Training | None = subject.cache.get("training")
    return found


def returned_tensors(returned: Any) -> list[Tensor]:
    """All tensors of floats in what a module returned, also in an object's attributes."""
    found = tensors_in(returned)
    if not found and hasattr(returned, "__dict__"):
        found = tensors_in(dict(vars(returned)))
    return [one for one in found if one.is_floating_point()]


def graph_leaves(tensors: list[Tensor], *, flat: bool = False) -> dict[int, Tensor]:
    """The leaves that need a gradient beneath some tensors.

    Args:
        flat: Go on behind functions whose derivative is 0, as round.
    """
    found: dict[int, Tensor] = {}
    stack = [one.grad_fn for one in tensors if one.grad_fn is not None]
    for one in tensors:
        if one.requires_grad and one.grad_fn is None:
            found[id(one)] = one
    seen: set[Any] = set(stack)
    while stack and len(seen) < MOST_NODES:
        node: Any = stack.pop()
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            found[id(variable)] = variable
        if not flat and type(node).__name__ in FLAT:
            continue
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
    return found


def watched_call(subject: Subject, model: nn.Module, inputs: Inputs, *, seed: int, grad: bool = True) -> Pass:
    """Call a copy once and see which modules were called and which leaves were reached.

    Raises:
        NotCheckedError: It raised.
    """
    registered = {id(module) for module in model.modules()}
    calls: dict[int, list[int]] = {}
    strangers: dict[int, tuple[nn.Module, Place | None]] = {}

    def before(module: nn.Module, args: Any) -> None:
        first = next((one for one in tensors_in(args) if one.ndim), None)
        calls.setdefault(id(module), []).append(-1 if first is None else len(first))
        if id(module) not in registered and id(module) not in strangers:
            strangers[id(module)] = (module, place_of_frame(sys._getframe(1)))

    handle = register_module_forward_pre_hook(before)
    try:
        returned = subject.call(model, inputs, seed=seed, grad=grad)
    finally:
        handle.remove()
    return Pass(returned, graph_leaves(returned_tensors(returned)), calls, list(strangers.values()))


def reach(subject: Subject) -> Reach:
    """What the module's answers are made of; done once.

    Raises:
        NotCheckedError: The module raised.
    """
    found: Reach | NotCheckedError | None = subject.cache.get("reach")
    if isinstance(found, NotCheckedError):
        raise found
    if found is None:
        # Where the time runs out inside, it is not begun anew by each check that asks.
        subject.cache["reach"] = NotCheckedError("calling the module a few times took too long")
        try:
            found = _reach(subject)
        except NotCheckedError as reason:
            subject.cache["reach"] = reason
            raise
        subject.cache["reach"] = found
    return found


def _reach(subject: Subject) -> Reach:
    model = subject.fresh(train=True)
    inputs, _ = subject.rows()
    subject.call(model, inputs, grad=True)  # layers that are made at the first call are there from now on
    before = {name: one.detach().clone() for name, one in model.named_parameters() if one.numel() < 20_000_000}
    passes = [watched_call(subject, model, _clones(inputs), seed=seed) for seed in (1, 2)]
    settled = frozenset(
        name for name, one in model.named_parameters() if name not in before or torch.equal(before[name], one.detach())
    )
    for module in model.modules():
        module.training = False
    with contextlib.suppress(NotCheckedError):  # where it raises in eval mode, what training shows must do
        passes.append(watched_call(subject, model, _clones(inputs), seed=1))
    return Reach(model, inputs, passes, settled)


def _clones(inputs: Inputs) -> Inputs:
    return {name: value.clone() for name, value in inputs.items()}


_TORCH_KEYS = frozenset(vars(nn.Module()))


def holdings(model: nn.Module) -> dict[int, str]:
    """Where a module keeps modules, parameters and tensors that are not registered: path of each by its id."""
    found: dict[int, str] = {}
    registered = {id(module) for module in model.modules()}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key not in _TORCH_KEYS:
                path = f"{name}.{key}" if name else key
                for at, thing in _things(value, path, 0):
                    _note(found, at, thing, registered)
    return found


def _note(found: dict[int, str], path: str, thing: Any, registered: set[int]) -> None:
    if isinstance(thing, Tensor):
        found.setdefault(id(thing), path)
    elif id(thing) not in registered:
        found.setdefault(id(thing), path)
        for name, one in thing.named_parameters():
            found.setdefault(id(one), f"{path}.{name}")


def _things(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Tensors and modules in a value, through lists, dicts, partial functions and the person's own objects."""
    if isinstance(value, (Tensor, nn.Module)):
        yield path, value
    elif depth > 4:
        return
    elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
        pairs = list(value.items()) if isinstance(value, Mapping) else list(enumerate(value))
        for key, one in pairs[:1000]:
            yield from _things(one, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, functools.partial):
        yield from _things((value.func, value.args, value.keywords), path, depth + 1)
    elif hasattr(value, "__self__") and isinstance(value.__self__, nn.Module):
        yield f"{path}.__self__", value.__self__
    elif hasattr(value, "__dict__") and _is_persons(type(value)):
        for key, one in vars(value).items():
            yield from _things(one, f"{path}.{key}", depth + 1)


def _is_persons(kind: type) -> bool:
    file = file_of(kind)
    return file is not None and persons(file)


def is_persons_class(kind: type) -> bool:
    """Whether a class stands in the person's own source."""
    return _is_persons(kind)


def attribute_of(path: str) -> str:
    """The attribute that a path begins with: ``enc.layers`` of ``enc.layers[0].weight``, as far as it is registered."""
    cut = min((at for at in (path.find("["), len(path)) if at >= 0), default=len(path))
    return path[:cut]


def parts_that_differ(one: Any, other: Any) -> float:
    """The largest difference between what two calls returned; infinite where shapes differ."""
    first, second = returned_tensors(one), returned_tensors(other)
    if len(first) != len(second) or any(a.shape != b.shape for a, b in zip(first, second, strict=False)):
        return float("inf")
    most = 0.0
    for a, b in zip(first, second, strict=True):
        gap = (a.detach() - b.detach()).abs()
        finite = gap[torch.isfinite(gap)]
        if finite.numel():
            most = max(most, float(finite.max()))
    return most
