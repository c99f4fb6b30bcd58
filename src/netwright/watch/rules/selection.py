"""How the best weights are chosen and kept: on the test set (E04), or without a copy (E05)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.capture import dataset_of
from netwright.watch.scene import place_of
from netwright.watch.trace import Event, LoaderSeen, ModelSeen, Trace

TEST = re.compile(r"(?<![A-Za-z])te?st|Test|TEST|(?<![A-Za-z])[Xxy]?_?te(?![A-Za-z])")
VALIDATION = re.compile(r"val|dev|valid|hold", re.IGNORECASE)
BEST = re.compile(r"best|snapshot|backup|saved|kept", re.IGNORECASE)


def not_a_copy(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E05: kept weights that are the living ones."""
    for event in trace.of("load", "save"):
        taken = event.facts.get("taken")
        if taken is None or taken[1] >= event.step or event.facts.get("module") is True:
            continue
        yield _living(trace, event, *taken)
        return
    shared = next((event for event in trace.of("load") if _loads_itself(trace, event)), None)
    if shared is not None:
        yield _living(trace, shared, shared.who, -1, None)
        return
    for model in trace.trained():
        found = _same_object(trace, model)
        if found is not None:
            yield found
            return


def _loads_itself(trace: Trace, event: Event) -> bool:
    """Whether what is loaded is the module's own memory, taken in an earlier step."""
    facts = event.facts
    if not facts.get("own") or facts.get("shares", 0) < facts["own"]:
        return False
    steps = [one.step for one in trace.of("state_dict") if one.who == event.who]
    return bool(steps) and max(steps) < event.step


def _living(trace: Trace, event: Event, number: int, step: int, place: Place | None) -> Finding:
    since = event.step - step if step >= 0 else 0
    earlier = [one for one in trace.of("state_dict") if one.who == number and one.step < event.step]
    if place is None and earlier:
        place, since = earlier[-1].place, event.step - earlier[-1].step
    done = "loaded" if event.kind == "load" else "saved"
    count = f"all {event.facts['shares']} tensors" if event.facts.get("shares") else "its tensors"
    return finding(
        "E05",
        evidence=(
            f"what state_dict() gave is {done} at {event.place} after {since} more optimizer steps, but {count} are "
            "the model's own "
            "memory, no copy: they hold the weights of the last step, not the best ones"
        ),
        cure="best = copy.deepcopy(model.state_dict())",
        place=place or event.place,
        where=None if place or event.place else "the best weights",
    )


def _same_object(trace: Trace, model: ModelSeen) -> Finding | None:
    """A variable for the best model that is the very model which trains on."""
    for name, (first, last) in model.names.items():
        tail = name.rpartition(".")[2]
        if not BEST.search(tail) or last <= first:
            continue
        place = _assigned_if_better(trace, tail)
        if place is None:
            continue
        others = [one for one in model.names if not BEST.search(one.rpartition(".")[2])]
        return finding(
            "E05",
            title="The best model is not a copy",
            evidence=(
                f"`{name}` and `{others[0] if others else 'the model in training'}` are one and the same "
                f"{model.name}: after `{name}` "
                f"was set, {last - first} more backward passes changed it, so that it is the last model and not the "
                "best"
            ),
            cure=f"{tail} = copy.deepcopy(model)",
            place=place,
        )
    return None


def _assigned_if_better(trace: Trace, tail: str) -> Place | None:
    """Where a variable of this name is set to another, bare one, below a comparison."""
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign):
                continue
            pairs = [
                (name, value)
                for target in node.targets
                for name, value in _pairs(target, node.value)
                if isinstance(value, (ast.Name, ast.Attribute)) and _tail(name) == tail
            ]
            if pairs and _below_comparison(node):
                return Place(file, node.lineno)
    return None


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=False))
    return [(target, value)]


def _tail(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _below_comparison(node: ast.AST) -> bool:
    return any(any(isinstance(one, ast.Compare) for one in ast.walk(above.test)) for above in _ifs_above(node))


def _ifs_above(node: ast.AST) -> Iterator[ast.If]:
    above = getattr(node, "parent", None)
    while above is not None and not isinstance(above, (ast.FunctionDef, ast.ClassDef)):
        if isinstance(above, ast.If):
            yield above
        above = getattr(above, "parent", None)


# ------------------------------------------------------------------------------------------------- E04


@dataclass(frozen=True, slots=True)
class Chosen:
    """A loader that was evaluated between passes of training, and by which something was chosen.

    Attributes:
        passes: Evaluations before training had ended.
        how: What was done in only some of them, as words.
        place: Where that was done.
    """

    loader: LoaderSeen
    passes: int
    how: str
    place: Place | None


def on_the_test_set(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E04: the weights, or the end of training, are chosen by the samples that the final score is of."""
    chosen = _chosen_by(trace)
    if chosen is None:
        yield from _whole_tensors(trace)
        return
    seen = chosen.loader
    for other in trace.loaders:
        if other is seen or other.used or not other.evaluated or not _same_data(seen, other):
            continue
        if _only_after_training(trace, other):
            why = f"the loader made at {other.place}, which is evaluated in the end, holds the same samples"
            yield _on_test(chosen, why)
            return
    others = [
        one for one in trace.loaders if one is not seen and not one.used and one.evaluated and not _same_data(seen, one)
    ]
    named = [name for name in (*seen.names, *seen.dataset_names) if TEST.search(name)]
    validation = [name for name in (*seen.names, *seen.dataset_names) if VALIDATION.search(name)]
    if others or validation or not (named or _says_test(seen)):
        return
    what = f"it is held by `{named[0]}`" if named else "its data set says train=False"
    yield _on_test(chosen, f"{what}, and no other samples are evaluated")


def _says_test(seen: LoaderSeen) -> bool:
    dataset, _ = dataset_of(seen.loader)
    return getattr(dataset, "train", None) is False


def _on_test(chosen: Chosen, why: str) -> Finding:
    seen = chosen.loader
    count = sum(seen.sizes)
    return finding(
        "E04",
        evidence=(
            f"the same {count} samples were evaluated {chosen.passes} times during training and {chosen.how}; {why}. "
            "The score of "
            f"the chosen weights is the luckiest of {chosen.passes}, not what new data will show"
        ),
        cure="Split a validation set off the training set, choose by that, and look at the test set once.",
        place=chosen.place or seen.place,
        where=None if chosen.place or seen.place else "the choice of the weights",
    )


def _chosen_by(trace: Trace) -> Chosen | None:
    """The evaluation by which weights were kept in some epochs only, or training was ended."""
    events, last = (
        trace.events,
        max((at for at, event in enumerate(trace.events) if event.kind == "backward"), default=-1),
    )
    alone: list[tuple[LoaderSeen, list[int]]] = []
    for seen in trace.loaders:
        if seen.used or not seen.evaluated:
            continue
        ends = [
            at for at, event in enumerate(events) if event.kind == "pass_end" and event.who == seen.number and at < last
        ]
        if len(ends) >= 2:
            alone.append((seen, ends))
    if len(alone) != 1:
        return None  # with two of them it cannot be told by which
    seen, ends = alone[0]
    how = _choice(trace, ends)
    return None if how is None else Chosen(seen, len(ends) + 1, *how)


def _choice(trace: Trace, ends: list[int]) -> tuple[str, Place | None] | None:
    """What was done after only some of the evaluations that ended at these events, and where."""
    where: dict[Place | None, list[int]] = {}
    for at, end in enumerate(ends):
        for place in {
            event.place for event in _until_training(trace.events, end) if event.kind in ("state_dict", "save")
        }:
            where.setdefault(place, []).append(at)
    for place, windows in where.items():
        if len(windows) < len(ends) and not _regular(windows):
            return f"the weights were kept after only {len(windows)} of them", place
    stopped = _stops_early(trace)
    if stopped is not None:
        return "training was ended by them", stopped
    copied = _copied_if_better(trace)
    return None if copied is None else ("the model was kept where they were best", copied)


def _whole_tensors(trace: Trace) -> Iterator[Finding]:
    """The same for an evaluation without a loader, of a tensor that is named after the test."""
    events, last = (
        trace.events,
        max((at for at, event in enumerate(trace.events) if event.kind == "backward"), default=-1),
    )
    if any(one.evaluated and not one.used for one in trace.loaders):
        return
    sites: dict[Place | None, list[int]] = {}
    for at, event in enumerate(events):
        if (
            event.kind == "forward"
            and at < last
            and event.facts.get("loader", -1) < 0
            and not (event.facts.get("grad") and event.facts.get("train"))
        ):
            sites.setdefault(event.place, []).append(at)
    named = {
        place: {
            name
            for model in trace.models
            for seen in model.recorded
            if place_of(trace, seen) == place
            for name in seen.names
        }
        for place in sites
    }
    if len(sites) != 1 or any(VALIDATION.search(name) for names in named.values() for name in names):
        return
    place, ends = next(iter(sites.items()))
    tests = sorted(name for name in named[place] if TEST.search(name))
    how = _choice(trace, ends) if tests and len(ends) >= 2 else None
    if how is None:
        return
    yield finding(
        "E04",
        evidence=(
            f"`{tests[0]}` was evaluated {len(ends) + 1} times during training and {how[0]}, and no other samples "
            "are evaluated. The score of "
            f"the chosen weights is the luckiest of {len(ends) + 1}, not what new data will show"
        ),
        cure="Split a validation set off the training set, choose by that, and look at the test set once.",
        place=how[1] or place,
        where=None if how[1] or place else "the choice of the weights",
    )


def _until_training(events: list[Event], start: int) -> Iterator[Event]:
    for event in events[start + 1 :]:
        if event.kind in ("backward", "pass_begin", "step"):
            return
        yield event


def _regular(windows: list[int]) -> bool:
    """Whether something was done every so many epochs, whatever the score."""
    gaps = {b - a for a, b in zip(windows, windows[1:], strict=False)}
    return len(gaps) == 1 and gaps.pop() > 1


def _copied_if_better(trace: Trace) -> Place | None:
    """Where a model is copied below a comparison with a best value."""
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("copy.deepcopy", "deepcopy"):
                continue
            if any(re.search("best", ast.unparse(one.test)) for one in _ifs_above(node)):
                return Place(file, node.lineno)
    return None


def _stops_early(trace: Trace) -> Place | None:
    """Where a loop that is broken off stands below a comparison with a best value or a patience."""
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Break):
                continue
            tests = [ast.unparse(one.test) for one in _ifs_above(node)]
            around = _loop_around(node)
            compared = (
                [ast.unparse(one.test) for one in ast.walk(around) if isinstance(one, ast.If)]
                if around is not None and tests
                else []
            )
            if any(re.search(r"patience|stop", one) for one in tests) or any(
                re.search("best", one) for one in (*tests, *compared)
            ):
                return Place(file, node.lineno)
    return None


def _loop_around(node: ast.AST) -> ast.AST | None:
    above = getattr(node, "parent", None)
    while above is not None and not isinstance(above, (ast.For, ast.While)):
        above = getattr(above, "parent", None)
    return above


def _only_after_training(trace: Trace, seen: LoaderSeen) -> bool:
    last = max((at for at, event in enumerate(trace.events) if event.kind == "backward"), default=-1)
    return all(
        at > last for at, event in enumerate(trace.events) if event.kind == "pass_begin" and event.who == seen.number
    )


def _same_data(one: LoaderSeen, other: LoaderSeen) -> bool:
    """Whether two loaders give the same samples: the same data set and places in it, or equal first batches."""
    first, at = dataset_of(one.loader)
    second, there = dataset_of(other.loader)
    if first is not None and first is second:
        return at is there is None or (at is not None and there is not None and set(at) == set(there))
    mine, theirs = _tensors(first), _tensors(second)
    return bool(mine) and len(mine) == len(theirs) and at is there is None and all(
        a.shape == b.shape and (a.data_ptr() == b.data_ptr() or bool(torch.equal(a, b)))
        for a, b in zip(mine, theirs, strict=True)
    )  # fmt: skip


def _tensors(dataset: object) -> tuple[Tensor, ...]:
    found = getattr(dataset, "tensors", ())
    return tuple(found) if isinstance(found, (tuple, list)) and all(isinstance(one, Tensor) for one in found) else ()


RULES = (not_a_copy, on_the_test_set)
