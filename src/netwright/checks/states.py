"""Is something kept from one batch to the next? (M28)

The same samples are answered twice by one copy, with another batch between. In eval mode nothing may have changed. A
state that the script's own loop clears before each batch is meant so.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.optrace import tensors_in
from netwright.checks.probes import REAL, Probe, answer_of, gap, probe_of, spread_of
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place, file_of, persons
from netwright.checks.subject import Inputs, NotCheckedError, Subject, pick
from netwright.checks.traced import seeded_call
from netwright.records import Finding

# What every module has; of these only buffers may be a state.
OF_MODULES = frozenset(vars(nn.Module()))
MOST_KEPT = 2_000_000  # numbers of a state that is compared


def state_is_kept(subject: Subject) -> Iterator[Finding]:
    """Answer, let another batch pass, answer again."""
    probe = probe_of(subject)
    for train in (False, True):
        found = _kept(subject, probe, train=train)
        if found is not None:
            yield found
            return


def _kept(subject: Subject, probe: Probe, *, train: bool) -> Finding | None:
    model = subject.fresh(train=train)
    inputs, others = _two_batches(subject, probe)
    at_first = held(model)
    first = answer_of(subject, seeded_call(subject, model, inputs))
    before = held(model)
    if not changed(at_first, before):
        return None
    seeded_call(subject, model, others)
    names = changed(before, held(model))
    again = answer_of(subject, seeded_call(subject, model, inputs))
    if first.shape != again.shape or not names:
        return None
    away = gap(first, again)
    spread = spread_of(first)
    if away <= REAL * spread:
        return None
    own = [name for name in names if _is_own(model, name, len(next(iter(inputs.values()))))]
    if train:  # statistics and codebooks are updated in training; only what has a row for each sample is a state
        names = own
    if not names:
        return None
    name = (own or names)[0]
    shuffled = subject.cache.get("shuffled", True)  # of a run of netwright it is
    if cleared_by_script(subject, name, each_batch=shuffled) is not None:
        return None
    place = _assigned(model, name)
    count = len(next(iter(inputs.values())))
    return finding(
        "M28",
        evidence=f"In {'train' if train else 'eval'} mode the same {count} samples got answers that differ by up "
        f"to {away:.2g} "
        f"(answers spread by {spread:.2g}) after another batch had passed: `{name}` keeps what it had computed of "
        "that batch.",
        cure="Begin each batch anew: make the state in forward, as torch.zeros(…) or hidden=None, and keep it in "
        "no attribute.",
        place=place or class_place(type(model)),
        layer=name,
    )


def _two_batches(subject: Subject, probe: Probe) -> tuple[Inputs, Inputs]:
    """The samples of the probe and as many others."""
    have = subject.pool_size
    size = min(have // 2, probe.rows)
    if size < 2:
        raise NotCheckedError("there are too few samples for two batches")
    others = {
        name: value[size : 2 * size, : probe.inputs[name].shape[1]] if value.ndim > 1 else value[size : 2 * size]
        for name, value in subject.pool.items()
    }
    return pick(probe.inputs, slice(0, size)), pick(others, slice(0, size))


def held(model: nn.Module) -> dict[str, list[Any]]:
    """Copies of the tensors and numbers that a module keeps beside its parameters, by name."""
    found: dict[str, list[Any]] = {}
    for prefix, module in model.named_modules():
        own = {name: value for name, value in vars(module).items() if name not in OF_MODULES}
        for name, value in {**own, **dict(module.named_buffers(recurse=False))}.items():
            value = list(value) if isinstance(value, deque) else value
            kept = [one for one in tensors_in(value) if not isinstance(one, nn.Parameter)]
            numbers = [value] if isinstance(value, (int, float)) else []
            if sum(one.numel() for one in kept) <= MOST_KEPT:
                found[f"{prefix}.{name}" if prefix else name] = [*(one.detach().clone() for one in kept), *numbers]
    return found


def changed(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> list[str]:
    """Names of what differs."""
    return [
        name
        for name, values in after.items()
        if len(values) != len(before.get(name, []))
        or any(not _same(one, two) for one, two in zip(values, before.get(name, []), strict=True))
    ]


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and torch.equal(one, two)
    return bool(one == two) if type(one) is type(two) else False


def _is_own(model: nn.Module, name: str, rows: int) -> bool:
    """Whether an attribute is a state of the samples: no registered buffer, and with an axis of their number."""
    prefix, _, attribute = name.rpartition(".")
    module = model.get_submodule(prefix)
    if attribute in dict(module.named_buffers(recurse=False)):
        return False
    return any(rows in one.shape for one in tensors_in(getattr(module, attribute, None)))


def cleared_by_script(subject: Subject, name: str, *, each_batch: bool) -> Place | None:
    """Where the script sets a state anew: an assignment, or a call of a method that assigns it.

    Args:
        each_batch: It must do so for each batch; else somewhere, as at the beginning of a series that is read in order.
    """
    attribute = name.rpartition(".")[2]
    methods = _methods_that_assign(subject, attribute)
    for file, tree in subject.sources.trees():
        for node in ast.walk(tree):
            if _sets(node, attribute, methods) and not _inside_module(node) and (not each_batch or _each_batch(node)):
                return Place(file, getattr(node, "lineno", 1))
    return None


def _methods_that_assign(subject: Subject, attribute: str) -> set[str]:
    """Methods of the person's classes, but ``forward``, that assign an attribute or call one that does."""
    functions = [
        (node.name, node)
        for _, tree in subject.sources.trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and isinstance(getattr(node, "parent", None), ast.ClassDef)
    ]
    names: set[str] = set()
    for _ in range(3):  # a method that calls one that does
        for name, node in functions:
            if name in ("forward", "__init__", "__call__") or name in names or _trains(node):
                continue
            if any(_sets(inner, attribute, names) for inner in ast.walk(node)):
                names.add(name)
    return names


def _sets(node: ast.AST, attribute: str, methods: set[str]) -> bool:
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
        return any(isinstance(one, ast.Attribute) and one.attr == attribute for one in flat)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods


def _inside_module(node: ast.AST) -> bool:
    """Whether a line stands in a method of a class that does not train, as in the module itself."""
    above = getattr(node, "parent", None)
    while above is not None:
        if isinstance(above, ast.FunctionDef) and isinstance(getattr(above, "parent", None), ast.ClassDef):
            return not _trains(above)
        above = getattr(above, "parent", None)
    return False


def _trains(node: ast.AST) -> bool:
    """Whether there is a backward pass in it."""
    return any(isinstance(one, ast.Attribute) and one.attr == "backward" for one in ast.walk(node))


def _each_batch(node: ast.AST) -> bool:
    """Whether the nearest loop around, or else the function, does a backward pass itself, and not in a further loop."""
    above: Any = getattr(node, "parent", None)
    while above is not None and not isinstance(above, (ast.For, ast.While, ast.FunctionDef, ast.Module)):
        above = getattr(above, "parent", None)
    if above is None or not _trains(above):
        return False
    return not any(
        one is not above and isinstance(one, (ast.For, ast.While)) and _trains(one) for one in ast.walk(above)
    )


def _assigned(model: nn.Module, name: str) -> Place | None:
    """The line of ``forward`` that keeps a state."""
    prefix, _, attribute = name.rpartition(".")
    kind = type(model.get_submodule(prefix))
    file = file_of(kind)
    if file is None or not persons(file):
        return None
    from netwright.checks.sourcecode import _parse_cached

    tree = _parse_cached(file)
    functions = [
        node
        for node in ast.walk(tree or ast.Module([], []))
        if isinstance(node, ast.FunctionDef)
        and node.name != "__init__"
        and getattr(getattr(node, "parent", None), "name", "") == kind.__name__
    ]
    functions.sort(key=lambda node: node.name != "forward")
    for function in functions:
        for node in ast.walk(function):
            if _sets(node, attribute, set()):
                return Place(file, getattr(node, "lineno", 1))
    return class_place(kind)


CHECKS: tuple[Check, ...] = (Check("a state that is kept from batch to batch", ("M28",), state_is_kept, most_s=2.0),)
