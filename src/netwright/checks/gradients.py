"""Parameters that get no gradient: because nothing uses them, or because the graph is cut on the way.

Which of the two it is, is tried out: the parameters are changed, and either something that comes back moves or nothing
does (technique K10). The line of the cut is read out of the recorded operations.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import Severity, finding
from netwright.checks.cuts import find_cut
from netwright.checks.fresh import looks_fresh
from netwright.checks.leaves import (
    Reach,
    graph_leaves,
    is_persons_class,
    parts_that_differ,
    reach,
    returned_tensors,
    training,
    watched_call,
)
from netwright.checks.parameters import CONTAINERS, read_elsewhere
from netwright.checks.runner import Check
from netwright.checks.sourcecode import made_at
from netwright.checks.subject import NotCheckedError, Subject, pick
from netwright.records import Finding

MOST_NAMES = 4  # that one finding lists


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters without a gradient, of the largest submodule that has no others.

    Attributes:
        name: Of the submodule, or of the parameter itself.
        moved: How far what comes back moves when they are changed; 0 where nothing does.
    """

    name: str
    parameters: tuple[str, ...]
    moved: float


def groups_without_gradient(subject: Subject) -> list[Group]:
    """All that could be trained and gets no gradient, and whether it matters; found once."""
    found: list[Group] | None = subject.cache.get("without_gradient")
    if found is None:
        found = subject.cache["without_gradient"] = _groups(subject)
    return found


def _groups(subject: Subject) -> list[Group]:
    seen = reach(subject)
    names = _unreached(subject, seen)
    if names:
        names = _unreached_by_all(subject, names)
    if not names:
        return []
    grouped = group_names(subject.model, names)
    if _moved(subject, names) == 0.0:
        return [Group(name, members, 0.0) for name, members in grouped.items()]
    return [Group(name, members, _moved(subject, list(members))) for name, members in grouped.items()]


def _unreached(subject: Subject, seen: Reach) -> list[str]:
    """Names of parameters that no returned tensor has a slope in, and that were not seen to learn."""
    straight = seen.reached
    through = {key for each in seen.passes for key in graph_leaves(returned_tensors(each.returned), flat=True)}
    learned = training(subject)
    names = []
    for name, one in seen.model.named_parameters():
        if not one.requires_grad or id(one) in straight or name not in seen.settled:
            continue
        only_flat = id(one) in through and (learned is None or name not in learned.moved)
        if learned is not None and name in learned.learned and not only_flat:
            continue
        names.append(name)
    return names


def _unreached_by_all(subject: Subject, names: list[str]) -> list[str]:
    """Those that the whole pool does not reach either: which experts are asked depends on the samples."""
    model = subject.fresh(train=True)
    inputs = pick(subject.pool, slice(0, 256))
    for train in (True, False):
        for module in model.modules():
            module.training = train
        try:
            done = watched_call(subject, model, inputs, seed=1)
        except NotCheckedError:
            continue
        own = dict(model.named_parameters())
        names = [name for name in names if name in own and id(own[name]) not in done.leaves]
    return names


def group_names(model: nn.Module, names: list[str]) -> dict[str, tuple[str, ...]]:
    """Names of parameters by the largest submodule whose trainable parameters are all among them."""
    left, found = set(names), {}
    for name, module in model.named_modules():
        own = [f"{name}.{key}" if name else key for key, one in module.named_parameters() if one.requires_grad]
        if name and own and left.issuperset(own):
            found[name] = tuple(own)
            left -= set(own)
    return found | {name: (name,) for name in names if name in left}


def _moved(subject: Subject, names: list[str]) -> float:
    """How far anything that comes back moves, in train or eval mode, when parameters are changed by their own size."""
    most = 0.0
    for train in (True, False):
        inputs, _ = subject.rows()
        model = subject.fresh(train=train)
        try:
            subject.call(model, inputs)  # what is made at the first call is there from now on
            before = subject.call(model, inputs, seed=3)
            shaken(model, names)
            after = subject.call(model, inputs, seed=3)
        except NotCheckedError:
            continue
        if train and parts_that_differ(before, subject.call(subject.fresh(train=True), inputs, seed=3)) > 0:
            continue  # a state is kept from call to call: what moved may be that
        most = max(most, parts_that_differ(before, after))
    return most


def shaken(model: nn.Module, names: list[str]) -> None:
    """Change parameters by random numbers of about their own size."""
    generator = torch.Generator().manual_seed(5)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            if name in own:
                one = own[name]
                size = max(float(one.detach().float().abs().mean()), 0.1)
                one.add_((torch.randn(one.shape, generator=generator) * size).to(one.dtype))


def cut_off(subject: Subject) -> Iterator[Finding]:
    """M14: parameters that matter and get no gradient."""
    groups = [one for one in groups_without_gradient(subject) if one.moved > 0 and not _is_teacher(subject, one)]
    if not groups:
        return
    names = [name for group in groups for name in group.parameters]
    cut = find_cut(subject, names)
    held = subject.optimizer.names if subject.optimizer is not None else frozenset()
    owned = [name for name in names if name in held]
    slope = _slope(subject, names)
    count = sum(one.numel() for name, one in subject.model.named_parameters() if name in names)
    listed = ", ".join(f"`{one.name}`" for one in groups[:MOST_NAMES]) + (" …" if len(groups) > MOST_NAMES else "")
    ask = "" if owned else " No optimizer holds them, so this may be meant: requires_grad_(False) says so."
    yield finding(
        "M14",
        severity=_gravity(subject, groups, owned),
        evidence=(
            f"{listed} ({count:,} values) can be trained and change the answer: shaking them moved it by "
            f"{max(one.moved for one in groups):.3g}{slope}. But autograd gives them no gradient: "
            f"{cut.words if cut else 'the graph ends between them and the answer'}.{ask}"
        ),
        cure=cut.cure if cut else "Stay within torch's differentiable operations, without detach() or no_grad().",
        place=cut.place if cut else made_at(subject.model, groups[0].name),
        layer=groups[0].name,
    )


def _gravity(subject: Subject, groups: list[Group], owned: list[str]) -> Severity:
    """An error where untrained weights are in the optimizer; where they were loaded it may be a probe: a warning."""
    if not owned:
        return "note"
    seen = training(subject)
    if seen is not None:
        return "warning" if all(name in seen.loaded for name in owned) else "error"
    parts = (part_of(subject.model, group.name) for group in groups)
    return "error" if any(isinstance(part, Tensor) or looks_fresh(part) for part in parts) else "warning"


def part_of(model: nn.Module, name: str) -> nn.Module | Tensor:
    """The submodule, or the parameter, of a name."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return model.get_parameter(name)


def _is_teacher(subject: Subject, group: Group) -> bool:
    """Whether each parameter has a twin with the same numbers that does learn: a copy that follows by averaging."""
    own = dict(subject.model.named_parameters())
    others = [one for name, one in own.items() if name not in group.parameters]
    weights = [own[name] for name in group.parameters if name in own and own[name].ndim > 1]

    def has_twin(one: Tensor) -> bool:
        return any(one.shape == other.shape and torch.equal(one.detach(), other.detach()) for other in others)

    return bool(weights) and all(has_twin(one) for one in weights)


def _slope(subject: Subject, names: list[str]) -> str:
    """In words the slope of the loss in these parameters, by differences in float64; empty where there is none."""
    try:
        inputs, targets = subject.rows()
        model = subject.fresh(train=False, dtype=torch.float64)
        wide = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
        wanted = targets.double() if isinstance(targets, Tensor) and targets.is_floating_point() else targets
        own = dict(model.named_parameters())
        generator = torch.Generator().manual_seed(6)
        ways = {name: torch.randn(own[name].shape, generator=generator, dtype=torch.float64) for name in names}
        losses = []
        for step in (1e-4, -2e-4):
            with torch.no_grad():
                for name, way in ways.items():
                    own[name].add_(way, alpha=step)
            losses.append(float(subject.loss(model, wide, wanted, grad=False)))
    except (NotCheckedError, RuntimeError, KeyError):
        return ""
    slope = (losses[0] - losses[1]) / 2e-4
    return "" if slope == 0.0 else f", and the loss has a slope of {slope:.3g} in a random direction of them"


def not_used(subject: Subject) -> Iterator[Finding]:
    """M13: parameters that nothing depends on."""
    unused = [one for one in groups_without_gradient(subject) if one.moved == 0.0]
    certain: list[Group] = []
    asked: list[Group] = []
    for group in unused:
        verdict = _verdict(subject, group)
        (certain if verdict == "warning" else asked if verdict == "note" else []).append(group)
    total = sum(one.numel() for one in subject.model.parameters())
    told: tuple[tuple[Severity, list[Group]], ...] = (("warning", certain), ("note", asked))
    for severity, groups in told:
        if not groups:
            continue
        count = sum(_size(subject.model, one) for one in groups)
        listed = ", ".join(f"`{one.name}` ({_size(subject.model, one):,} values)" for one in groups[:MOST_NAMES])
        more = f" and {len(groups) - MOST_NAMES} more" if len(groups) > MOST_NAMES else ""
        how = " It is called, but its result goes nowhere." if _called(subject, groups[0].name) else ""
        ask = " Other code may use them: then this is no fault." if severity == "note" else ""
        yield finding(
            "M13",
            severity=severity,
            evidence=(
                f"{listed}{more} get no gradient, and changing all {count:,} of their values changes nothing that the "
                f"module returns, in train or eval mode; it has {total:,} values in "
                f"all.{how}{_twin(subject, groups[0])}{ask}"
            ),
            cure=f"Use `self.{groups[0].name}` in forward, or take it out.",
            place=made_at(subject.model, groups[0].name),
            layer=groups[0].name,
        )


def _size(model: nn.Module, group: Group) -> int:
    return sum(one.numel() for name, one in model.named_parameters() if name in group.parameters)


def _called(subject: Subject, name: str) -> bool:
    seen = reach(subject)
    part = part_of(seen.model, name)
    return any(id(part) in each.calls for each in seen.passes)


def _twin(subject: Subject, group: Group) -> str:
    """Where a brother is called more often than the others, it was probably meant: a copied line."""
    seen = reach(subject)
    parent, _, own = group.name.rpartition(".")
    part = part_of(seen.model, group.name)
    for key, child in seen.model.get_submodule(parent)._modules.items():
        calls = len(seen.passes[0].calls.get(id(child), ()))
        if key != own and calls > 1 and type(child) is type(part):
            return f" `{parent + '.' if parent else ''}{key}` is called {calls} times instead."
    return ""


def _verdict(subject: Subject, group: Group) -> str:
    """Whether what is unused here is a fault (warning), may be used by other code (note), or is used (silent)."""
    seen = training(subject)
    if seen is not None and any(name == group.name or name.startswith(f"{group.name}.") for name in seen.called):
        return "silent"
    if _called(subject, group.name):
        return "warning"  # its result goes nowhere
    model = subject.model
    parent, _, attribute = group.name.rpartition(".")
    while attribute.isdigit() and parent and isinstance(model.get_submodule(parent), CONTAINERS):
        if _routed(subject, parent):
            return "note"
        parent, _, attribute = parent.rpartition(".")
    owner = model.get_submodule(parent)
    if isinstance(owner, nn.ModuleDict):
        return "note"  # which entry is asked, a key decides at the call
    if isinstance(owner, CONTAINERS):
        return "note" if attribute.isdigit() else "warning"
    if not is_persons_class(type(owner)):
        return "note"  # a model of a library, of which a part is used
    whole = part_of(reach(subject).model, f"{parent}.{attribute}" if parent else attribute)
    if isinstance(whole, CONTAINERS) and _some_called(subject, whole):
        return "warning"  # a loop over a list that leaves entries out
    return "note" if read_elsewhere(subject, owner, attribute) or _by_name(subject, owner) else "warning"


def _some_called(subject: Subject, container: nn.Module) -> bool:
    seen = reach(subject)
    return any(id(child) in each.calls for each in seen.passes for child in container.children())


def _routed(subject: Subject, container: str) -> bool:
    """Whether samples are sent to different entries of a list, or other entries are called in each call."""
    seen = reach(subject)
    rows = len(next(iter(seen.inputs.values())))
    whole = seen.model.get_submodule(container)
    counts = [[each.calls.get(id(child), []) for child in whole.children()] for each in seen.passes]
    if any(one != counts[0] for one in counts[1:]):
        return True
    sizes = {size for child in counts[0] for size in child}
    return len(sizes) > 1 or any(size % rows for size in sizes if size > 0)


def _by_name(subject: Subject, owner: nn.Module) -> bool:
    """Whether the class looks attributes up by computed names, so that no reading of its source can be sure."""
    for _, tree in subject.sources.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == type(owner).__name__:
                calls = (one for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Name))
                return any(one.func.id == "getattr" for one in calls if isinstance(one.func, ast.Name))
    return False


CHECKS: tuple[Check, ...] = (
    Check("where the graph is cut", ("M14",), cut_off, most_s=4.0),
    Check("layers that are not used", ("M13",), not_used, most_s=4.0),
)
