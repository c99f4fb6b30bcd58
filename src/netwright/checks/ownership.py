"""Parameters and their optimizer: missing from it, strangers in it, standing in it twice, frozen by accident.

Of a watched script a rule knows more (``watch/rules/owners.py``); here it is what the optimizer holds before training.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.fresh import looks_fresh
from netwright.checks.gradients import group_names, part_of
from netwright.checks.leaves import reach, training
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place, made_at
from netwright.checks.subject import Subject
from netwright.records import Finding

KNOWN = frozenset({"grad", "requires_grad", "grad_fn", "is_leaf", "retains_grad"})


def held_by_none(subject: Subject) -> Iterator[Finding]:
    """O03 and O04: parameters that get a gradient and stand in no group of the optimizer."""
    if training(subject) is not None or subject.optimizer is None:
        return  # of a watched script the trace tells
    held, foreign = subject.optimizer.names, sum(group.foreign for group in subject.optimizer.groups)
    if subject.optimizer.doubled:
        yield twice(subject.optimizer.doubled, subject.optimizer.kind)
    seen = reach(subject)
    missing = [
        name
        for name, one in seen.model.named_parameters()
        if one.requires_grad and id(one) in seen.reached and name not in held
    ]
    if not missing:
        return
    own = dict(seen.model.named_parameters())
    groups = group_names(subject.model, missing)
    parts = [part_of(subject.model, name) for name in groups]
    fresh = any(isinstance(part, Tensor) or looks_fresh(part) for part in parts)
    count, total = sum(own[name].numel() for name in missing), sum(one.numel() for one in own.values())
    listed = ", ".join(f"`{name}`" for name in list(groups)[:4]) + (" …" if len(groups) > 4 else "")
    first = next(iter(groups))
    if foreign:
        yield finding(
            "O04",
            evidence=(
                f"the {subject.optimizer.kind} holds {foreign} tensors that are not this module's, while {listed} "
                f"({count:,} of {total:,} values) get a gradient and are in none of its groups"
            ),
            cure="Make the optimizer after the last layer was put in place: optimizer = Adam(model.parameters())",
            place=made_at(subject.model, first),
            layer=first,
        )
        return
    yield finding(
        "O03",
        severity="error" if fresh else "warning",
        evidence=(
            f"{listed} ({count:,} of {total:,} values) get a gradient but stand in no group of the "
            f"{subject.optimizer.kind}: they keep their {'random ' if fresh else ''}start values"
        ),
        cure="Add them to a group, or freeze them where that is meant: layer.requires_grad_(False)",
        place=made_at(subject.model, first),
        layer=first,
    )


def twice(names: tuple[str, ...], kind: str, place: Place | None = None) -> Finding:
    """O04 of parameters that stand in one optimizer twice."""
    some = ", ".join(f"`{name}`" for name in names[:4])
    return finding(
        "O04",
        title="A parameter stands in the optimizer twice",
        evidence=f"{len(names)} parameters stand in the {kind} twice ({some}): each step moves them twice",
        cure="Give each parameter once, as model.parameters() does.",
        place=place,
        where=None if place else "the optimizer",
    )


def wrong_attribute(subject: Subject) -> Iterator[Finding]:
    """O05: ``parameter.require_grad = True`` makes an attribute that nobody reads; so does ``layer.requires_grad``."""
    original = subject.original if subject.original is not None else subject.model
    told: set[tuple[str, str]] = set()
    for kind, name, thing, states in _holders(original):
        for key, value in list(vars(thing).items()):
            if not isinstance(value, bool) or not _means_requires_grad(key, of_module=kind == "module"):
                continue
            against = [state for state in states if state is not value]
            if not states or len(against) < len(states) or (kind, key) in told:
                continue
            told.add((kind, key))
            yield _no_effect(subject, original, kind, name, key, value)


def _holders(model: nn.Module) -> Iterator[tuple[str, str, Any, list[bool]]]:
    """Parameters and modules, with the real requires_grad of what is in them."""
    for name, one in model.named_parameters():
        yield "parameter", name, one, [one.requires_grad]
    for name, module in model.named_modules():
        yield "module", name, module, [one.requires_grad for one in module.parameters()]


def _means_requires_grad(key: str, *, of_module: bool) -> bool:
    if key == "requires_grad":
        return of_module  # of a parameter it is the real one
    if key in KNOWN or "grad" not in key:
        return False
    return difflib.SequenceMatcher(None, key, "requires_grad").ratio() > 0.85


def _no_effect(subject: Subject, model: nn.Module, kind: str, name: str, key: str, value: bool) -> Finding:
    place = _written(subject, key) or (made_at(model, name) if name else class_place(type(model)))
    same = sum(vars(one).get(key) is value for one in (model.parameters() if kind == "parameter" else model.modules()))
    real = "frozen" if value else "trainable"
    return finding(
        "O05",
        title="Freezing or unfreezing has no effect",
        evidence=(
            f"`{key} = {value}` was set on {same} {kind}s, as `{name or 'the model'}`: that makes a new attribute "
            "which torch "
            f"never reads. requires_grad of {'it' if kind == 'parameter' else 'its parameters'} is still "
            f"{not value}, so that "
            f"{'it stays' if kind == 'parameter' else 'they stay'} {real}."
        ),
        cure=(
            f"layer.requires_grad_({value})  # of a module; parameter.requires_grad = {value}, with an s, of "
            "a parameter"
        ),
        place=place,
        layer=name or None,
    )


def _written(subject: Subject, key: str) -> Place | None:
    for file, tree in subject.sources.trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or node.attr != key or not isinstance(node.ctx, ast.Store):
                continue
            if getattr(node.value, "id", "") != "self":
                return Place(file, node.lineno)
    return None


def only_an_offset(subject: Subject) -> Iterator[Finding]:
    """O05: whatever the trainable parameters become, the answers of two samples differ by the same."""
    model = subject.fresh()
    named = list(model.named_parameters())
    free = [(name, one) for name, one in named if one.requires_grad]
    frozen = [(name, one) for name, one in named if not one.requires_grad]
    if not free or not frozen or any(one.ndim > 1 for _, one in free):
        return
    if not _still_frozen(subject, [name for name, _ in frozen]):
        return
    inputs, _ = subject.rows()
    before = subject.answer(model, inputs)
    if before.ndim < 1 or len(before) < 2 or not before.is_floating_point():
        return
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, one in free:
            one.add_(torch.randn(one.shape, generator=generator))
    after = subject.answer(model, inputs)
    moved = after - before
    size = float((before - before[:1]).abs().max())
    if size == 0.0 or float(moved.abs().max()) == 0.0 or float((moved - moved[:1]).abs().max()) > 1e-4 * (size + 1):
        return
    partner = _partner(free, frozen)
    if partner is None:
        return  # an offset alone is trained on purpose, as when a score is calibrated
    count, total = sum(one.numel() for _, one in free), sum(one.numel() for _, one in named)
    yield finding(
        "O05",
        evidence=(
            f"only {count:,} of {total:,} values can be trained ({', '.join(name for name, _ in free[:4])}); "
            f"`{partner}` of the "
            "same layer is frozen. I changed all of them at random: every answer moved by the same "
            f"{float(moved.abs().max()):.2f}, "
            "so training can shift the answers but never tell two samples apart better."
        ),
        cure=f"Freeze by layer, not by place in the list: model.{partner.rpartition('.')[0]}.requires_grad_(True)",
        place=made_at(subject.model, partner.rpartition(".")[0] or partner),
        layer=partner.rpartition(".")[0] or None,
    )


def _partner(free: Sequence[tuple[str, Tensor]], frozen: Sequence[tuple[str, Tensor]]) -> str | None:
    """A frozen weight of a layer whose bias is trained."""
    owners = {name.rpartition(".")[0] for name, _ in free}
    return next((name for name, _ in frozen if name.rpartition(".")[0] in owners), None)


def _still_frozen(subject: Subject, names: list[str]) -> bool:
    """Whether a watched script ended with these parameters frozen and as they were."""
    seen = training(subject)
    if seen is None or subject.original is None:
        return True
    own = dict(subject.original.named_parameters())
    return all(name in own and not own[name].requires_grad and name not in seen.moved for name in names)


def frozen_at_random(subject: Subject) -> Iterator[Finding]:
    """O05: the layer that gives the answer is frozen with weights that were never trained, while others learn."""
    model = subject.fresh()
    if not any(one.requires_grad for one in model.parameters()):
        return
    found = _last_layer(subject, model)
    if found is None:
        return
    name, layer = found
    own = [one for one in layer.parameters() if one.ndim > 1]
    if not own or any(one.requires_grad for one in layer.parameters()) or not looks_fresh(layer):
        return
    names = [f"{name}.{key}" if name else key for key, _ in layer.named_parameters()]
    seen = training(subject)
    if not _still_frozen(subject, names) or (seen is not None and any(one in seen.loaded for one in names)):
        return
    others = sum(one.numel() for one in model.parameters() if one.requires_grad)
    yield finding(
        "O05",
        severity="warning",  # a fixed last layer is studied on purpose by some
        evidence=(
            f"`{name}`, the layer that gives the answer, is frozen ({sum(one.numel() for one in own):,} values), and "
            "its weights "
            f"are still as torch draws them (at most {float(own[0].abs().max()):.3f}, spread evenly); {others:,} "
            "values "
            "before it are trained"
        ),
        cure=f"model.{name}.requires_grad_(True), or make the layer after the loop that freezes",
        place=made_at(subject.model, name),
        layer=name,
    )


def _last_layer(subject: Subject, model: nn.Module) -> tuple[str, nn.Module] | None:
    """The layer whose output is the answer itself, or a view of it; None where there is none."""
    last: dict[int, tuple[str, nn.Module]] = {}
    handles = [
        module.register_forward_hook(lambda one, args, out, name=name: last.__setitem__(_memory(out), (name, one)))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    inputs, _ = subject.rows()
    try:
        answer = subject.answer(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return last.get(_memory(answer))


def _memory(value: Any) -> int:
    return value.data_ptr() if isinstance(value, Tensor) else -1


CHECKS: tuple[Check, ...] = (
    Check("parameters without an optimizer", ("O03", "O04"), held_by_none),
    Check("requires_grad written wrongly", ("O05",), wrong_attribute),
    Check("frozen weights that only leave an offset", ("O05",), only_an_offset),
    Check("a frozen last layer", ("O05",), frozen_at_random),
)
