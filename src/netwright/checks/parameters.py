"""Parameters that training cannot reach: not registered, made anew in each call, standing in several places.

Told by the leaves of the graph of the answer (technique K9), not by how the code looks.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.leaves import (
    Pass,
    Reach,
    attribute_of,
    graph_leaves,
    holdings,
    parts_that_differ,
    reach,
    returned_tensors,
    training,
)
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place, file_of, made_at
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def made_in_forward(subject: Subject) -> Iterator[Finding]:
    """M11: layers and weights that each call makes anew."""
    seen = reach(subject)
    first, second = seen.passes[0], seen.passes[1]
    new = _new_leaves(seen)
    strangers = _new_strangers(first, second)
    if not new and not strangers:
        return
    gap = _gap_of_seeds(subject, seen)
    weights = [one for one in new if isinstance(one, nn.Parameter)]
    if not weights and not strangers and (not new or gap == 0.0):
        return
    if not weights and gap == 0.0:
        return  # what is made anew draws nothing: a fixed filter, a pooling layer
    count = sum(one.numel() for one in weights or new)
    kinds = sorted({type(module).__name__ for module, _ in strangers})
    place = next((place for _, place in strangers if place is not None), class_place(type(subject.model)))
    what = f"{', '.join(kinds)} with new weights" if kinds else "new weights"
    yield finding(
        "M11",
        evidence=(
            f"I called the module three times; each call made {what} ({count:,} values), none of which is among its "
            f"{sum(one.numel() for one in seen.model.parameters()):,} registered values or kept for the next call. "
            f"With the same samples two calls in eval mode differ by {gap:.3g}."
        ),
        cure="Make the layer once, in __init__ (nn.LazyLinear where its size is unknown), and only call it in forward.",
        place=place,
    )


def _new_leaves(seen: Reach) -> list[Tensor]:
    """Leaves of the first call that no later one has, and that the first call does not share with what is kept."""
    later = {id(one) for each in seen.passes[1:] for one in each.leaves.values()}
    given = {id(one) for one in seen.inputs.values()}
    kept = {id(one) for one in seen.model.parameters()} | set(holdings(seen.model))
    return [one for key, one in seen.passes[0].leaves.items() if key not in later | given | kept]


def _new_strangers(first: Pass, second: Pass) -> list[tuple[nn.Module, Place | None]]:
    """Modules with weights or statistics that only the first call had."""
    again = {id(module) for module, _ in second.strangers}
    return [
        (module, place)
        for module, place in first.strangers
        if id(module) not in again and next(iter((*module.parameters(), *module.buffers())), None) is not None
    ]


def _gap_of_seeds(subject: Subject, seen: Reach) -> float:
    """By how much two calls in eval mode differ that draw other random numbers."""
    try:
        one, other = (subject.call(seen.model, seen.inputs, seed=seed) for seed in (1, 2))
    except NotCheckedError:
        return parts_that_differ(seen.passes[0].returned, seen.passes[1].returned)
    return parts_that_differ(one, other)


def not_registered(subject: Subject) -> Iterator[Finding]:
    """M10: what the answer is made of but ``parameters()`` does not have."""
    seen = reach(subject)
    registered = {id(one) for one in seen.model.parameters()}
    given = {id(one) for one in seen.inputs.values()}
    always = set.intersection(*(set(each.leaves) for each in seen.passes[:2]))
    leaves = {key: one for key, one in seen.passes[0].leaves.items() if key in always and key not in registered | given}
    paths = holdings(seen.model)
    groups: dict[str, list[tuple[str, Tensor]]] = {}
    for key, one in leaves.items():
        path = paths.get(key)
        if path is not None:
            groups.setdefault(attribute_of(path), []).append((path, one))
    for attribute, members in groups.items():
        yield _unregistered(subject, seen, attribute, members)
    yield from _global_layers(seen, {key: one for key, one in leaves.items() if key not in paths})
    yield from _results_of_parameters(subject)


def _unregistered(subject: Subject, seen: Reach, attribute: str, members: list[tuple[str, Tensor]]) -> Finding:
    tensors = [one for _, one in members]
    norm = gradient_norm(subject, seen, tensors)
    owned = _owned_by_optimizer(subject, [path for path, _ in members])
    count = sum(one.numel() for one in tensors)
    plain = all("[" not in path and path == attribute for path, _ in members)
    name = attribute.rpartition(".")[2]
    kind, cure = _remedy(seen.model, attribute, name, plain=plain)
    lost = "not saved and not moved" if owned else "not trained, not saved, not moved"
    many = "1 tensor" if len(tensors) == 1 else f"{len(tensors)} tensors"
    return finding(
        "M10",
        severity="warning" if owned else "error",
        evidence=(
            f"{many} ({count:,} values) in `self.{name}`, {kind}, "
            f"{'is' if len(tensors) == 1 else 'are'} used in forward and "
            f"get{'s' if len(tensors) == 1 else ''} a gradient (norm {norm:.3g}), but "
            f"{'is' if len(tensors) == 1 else 'are'} not in parameters(), which has "
            f"{sum(one.numel() for one in seen.model.parameters()):,} values: {lost}."
        ),
        cure=cure,
        place=made_at(seen.model, attribute),
        layer=attribute,
    )


def _remedy(model: nn.Module, attribute: str, name: str, *, plain: bool) -> tuple[str, str]:
    """What holds the tensors, in words, and what to write instead."""
    parent, _, _ = attribute.rpartition(".")
    holder = vars(model.get_submodule(parent)).get(name)
    if plain or isinstance(holder, Tensor):
        return "a plain tensor", f"self.{name} = nn.Parameter(...)"
    if isinstance(holder, dict):
        return "a plain dict", f"self.{name} = nn.ModuleDict({{...}})  # nn.ParameterDict for tensors"
    if isinstance(holder, (list, tuple)):
        inner = next(iter(holder), None)
        kind = "nn.ParameterList" if isinstance(inner, Tensor) else "nn.ModuleList"
        return f"a plain {type(holder).__name__}", f"self.{name} = {kind}([...])"
    return f"a {type(holder).__name__}", "Assign each layer to an attribute of a module, or put it into nn.ModuleList."


def _owned_by_optimizer(subject: Subject, paths: list[str]) -> bool:
    """Whether the optimizer of the script holds them all, given to it by hand."""
    seen, original = training(subject), subject.original
    if seen is None or original is None:
        return False
    owned = {path for key, path in holdings(original).items() if key in seen.owned}
    return all(path in owned for path in paths)


def gradient_norm(subject: Subject, seen: Reach, tensors: list[Tensor]) -> float:
    """Norm of the gradient of the loss, or where that is unknown of the sum of squares of what comes back."""
    total = torch.stack([one.square().mean() for one in returned_tensors(seen.passes[0].returned)]).sum()
    try:
        inputs, targets = subject.rows()
        seen.model.train()
        total = subject.loss(seen.model, inputs, targets)
    except NotCheckedError:
        pass
    try:
        found = torch.autograd.grad(total, tensors, allow_unused=True)
    except RuntimeError:
        return float("nan")
    return math.sqrt(sum(float(one.square().sum()) for one in found if one is not None))


def _global_layers(seen: Reach, leaves: dict[int, Tensor]) -> Iterator[Finding]:
    """Layers that forward uses and that no module keeps: made at the top of a file, or in a closure."""
    known = {id(one) for one in leaves.values()}
    for module, place in seen.passes[0].strangers:
        own = [one for one in module.parameters() if id(one) in known]
        if not own:
            continue
        known -= {id(one) for one in own}
        yield finding(
            "M10",
            evidence=(
                f"forward calls a {type(module).__name__} with {sum(one.numel() for one in own):,} values that get a "
                "gradient, but the module does not keep it: it is not in parameters() and not trained or saved."
            ),
            cure="Make it in __init__ and assign it: `self.layer = ...`.",
            place=place,
        )


def _results_of_parameters(subject: Subject) -> Iterator[Finding]:
    """Attributes that were computed of a new nn.Parameter: ``self.w = nn.Parameter(...) * .1`` registers nothing."""
    original = subject.original
    if original is None:
        return
    registered = {id(one) for one in original.parameters()}
    for name, module in original.named_modules():
        for key, value in vars(module).items():
            if not isinstance(value, Tensor) or value.grad_fn is None:
                continue
            leaves = graph_leaves([value], flat=True)
            lost = [one for one in leaves.values() if isinstance(one, nn.Parameter)]
            if not lost or len(lost) != len(leaves) or any(one in registered for one in leaves):
                continue
            path = f"{name}.{key}" if name else key
            moved = _effect(subject, name, key)
            if moved == 0.0:
                continue
            yield finding(
                "M10",
                evidence=(
                    f"`self.{key}` is the result of an operation on an nn.Parameter with {lost[0].numel():,} values "
                    "and so no parameter itself: it is not in parameters() and not trained. "
                    f"Changing it by 10 % moves the answer by {moved:.3g}."
                ),
                cure=f"Compute first, wrap last: self.{key} = nn.Parameter(...values...)",
                place=made_at(original, path),
                layer=path,
            )


def _effect(subject: Subject, name: str, key: str) -> float:
    """How far the answer moves when a tensor that a module keeps is changed by a tenth."""
    model = subject.fresh()
    inputs, _ = subject.rows()
    before = subject.call(model, inputs)
    owner = model.get_submodule(name)
    value = vars(owner)[key]
    with torch.no_grad():
        setattr(owner, key, value * 1.1 + 0.01)
    return parts_that_differ(before, subject.call(model, inputs))


def standing_twice(subject: Subject) -> Iterator[Finding]:
    """M12: one layer with weights in several places of a list."""
    model = subject.model
    others = (module for module in model.modules() if not isinstance(module, CONTAINERS))
    alone = {id(child) for module in others for child in module.children()}
    told: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, CONTAINERS):
            continue
        places: dict[int, list[str]] = {}
        for key, child in module._modules.items():
            if child is not None and next(child.parameters(), None) is not None:
                places.setdefault(id(child), []).append(key)
        for own, where in places.items():
            if len(where) > 1 and own not in told:
                told.add(own)
                yield _aliased(subject, name, module, where, declared=own in alone)


def _aliased(subject: Subject, name: str, module: nn.Module, where: list[str], *, declared: bool) -> Finding:
    child = module._modules[where[0]]
    assert child is not None  # noqa: S101  it was found with weights above
    own = sum(one.numel() for one in child.parameters())
    calls = _calls(subject, name, where[0])
    kind = type(module).__name__
    times = f" It is called {calls} times in one pass." if calls else ""
    return finding(
        "M12",
        severity="note" if declared else "warning",  # a layer that has a name of its own is shared on purpose
        evidence=(
            f"entries {', '.join(where)} of this {kind} are one and the same {type(child).__name__}: {len(where)} "
            "entries, "
            f"1 set of weights, {own:,} values instead of {own * len(where):,}.{times}"
        ),
        cure=(
            f"nn.{kind}({'*' if kind == 'Sequential' else ''}[nn.{type(child).__name__}(...) for _ in "
            f"range({len(where)})])"
        ),
        place=_container_line(subject.model, name),
        layer=name or None,
    )


def _container_line(model: nn.Module, name: str) -> Place | None:
    return made_at(model, name) if name else class_place(type(model))


def _calls(subject: Subject, name: str, key: str) -> int:
    try:
        seen = reach(subject)
    except NotCheckedError:
        return 0
    child = seen.model.get_submodule(f"{name}.{key}" if name else key)
    return len(seen.passes[0].calls.get(id(child), ()))


# Attributes of built-in kinds: ``things.items()`` says nothing of a layer called items.
_COMMON = frozenset({*dir(dict), *dir(list), *dir(str), *dir(set)})


def read_elsewhere(subject: Subject, owner: nn.Module, attribute: str) -> bool:
    """Whether source outside of the constructor reads an attribute: in another method, or from outside the class."""
    made = {"__init__", "reset_parameters", "_reset_parameters", "init_weights", "_init_weights", "initialize_weights"}
    own = {kind.__name__ for kind in type(owner).__mro__}
    subject.sources.add(file_of(type(owner)))
    for _, tree in subject.sources.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == attribute and isinstance(node.ctx, ast.Load):
                inside, method = _home(node)
                if inside is None and attribute not in _COMMON:
                    return True
                if inside in own and method not in made:
                    return True
    return False


def _home(node: Any) -> tuple[str | None, str | None]:
    """The class and the method that a node stands in."""
    method: str | None = None
    while (node := getattr(node, "parent", None)) is not None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            method = node.name
        if isinstance(node, ast.ClassDef):
            return node.name, method
    return None, method


CHECKS: tuple[Check, ...] = (
    Check("layers that are made in forward", ("M11",), made_in_forward),
    Check("layers that are not registered", ("M10",), not_registered),
    Check("layers that stand in several places", ("M12",), standing_twice),
)
