"""Scores that loops add up: means of unequal means, counters that are never reset, wrong denominators (E03).

What a counter grew by at each batch was read while the loop ran; what it is divided by stands in the source. So both
figures can be told: the one that the script shows, and the exact one.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place, Sources
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.replays import hits_of, loss_names, target_of
from netwright.watch.scene import LoopSeen
from netwright.watch.trace import LoaderSeen, Trace

_BATCHES = "the number of batches"
Kind = Literal["count", "sum", "mean", "rows", "batches", "other"]
MEANS = frozenset({"mean", "fmean", "average", "nanmean"})
# Below these a difference is lost in the digits that are printed.
SHOWN_ACCURACY, SHOWN_LOSS = 0.002, 0.01


@dataclass(frozen=True, slots=True)
class Division:
    """A number that a loop had added up, divided by another.

    Attributes:
        name: Of the counter, as ``self.hits``; ``below`` what it is divided by, as written.
    """

    name: str
    below: str
    line: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a loop, by batch what each counter grew by."""

    loop: LoopSeen
    grown: dict[str, tuple[float, ...]]

    @property
    def total(self) -> int:
        """Samples."""
        return sum(self.loop.rows)


def averages(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E03: what a loop over a loader adds up and divides."""
    told: set[tuple[str, int]] = set()
    for place in dict.fromkeys(loop.place for loop in trace.loops):
        if place is None:
            continue
        passes = [_grown(loop) for loop in trace.loops if loop.place == place and loop.whole and loop.rows]
        written = _in_one_expression(trace.sources, place)
        if written is not None:
            passes = [one for one in passes if _add_terms(trace, one, written.name)]
        for division in [written] if written is not None else _divisions(trace.sources, place):
            for loader in dict.fromkeys(one.loop.loader for one in passes):
                mine = [one for one in passes if one.loop.loader == loader]
                found = _judge(trace, division, mine, place)
                if found is not None and (division.name, place.line) not in told:
                    told.add((division.name, place.line))
                    yield found


def _grown(loop: LoopSeen) -> Pass:
    names = {name for one in loop.values for name in one}
    grown = {}
    for name in names:
        marks = [loop.start.get(name, 0.0), *(one.get(name, math.nan) for one in loop.values)]
        steps = tuple(after - before for before, after in zip(marks, marks[1:], strict=False))
        if not any(math.isnan(one) for one in steps):
            grown[name] = steps
    return Pass(loop, grown)


def _divisions(sources: Sources, place: Place) -> list[Division]:
    """The divisions of counters in the function of a loop, at or after the loop."""
    tree = sources.tree(place.file)
    if tree is None:
        return []
    around = _function_around(tree, place.line)
    counters = _added_to(around)
    found = []
    for node in ast.walk(around):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and node.lineno >= place.line:
            above = _bare(node.left)
            if above in counters:
                found.append(Division(above, ast.unparse(node.right), node.lineno))
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div) and node.lineno >= place.line:
            above = ast.unparse(node.target)
            if above in counters:
                found.append(Division(above, ast.unparse(node.value), node.lineno))
        elif isinstance(node, ast.Call) and node.args and _called(node) in MEANS and node.lineno >= place.line:
            listed = ast.unparse(node.args[0])
            if listed in counters:
                found.append(Division(f"{listed}[-1]", f"len({listed})", node.lineno))
    return found


def _in_one_expression(sources: Sources, place: Place) -> Division | None:
    """``sum(value for … in loader) / number`` at a line, or a mean of such values, where each is a mean of its batch."""
    tree = sources.tree(place.file)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, (ast.BinOp, ast.Call)) or not node.lineno <= place.line <= (node.end_lineno or 0):
            continue
        call = node.left if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else node
        while isinstance(call, ast.BinOp) and isinstance(call.op, ast.Mult):
            call = call.right if isinstance(call.left, ast.Constant) else call.left
        if (
            not isinstance(call, ast.Call)
            or not call.args
            or not isinstance(call.args[0], (ast.GeneratorExp, ast.ListComp))
        ):
            continue
        term = call.args[0].elt
        weighted = any(isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mult) for one in ast.walk(term))
        if weighted or not isinstance(term, ast.Call) or call.args[0].generators[0].iter.lineno > place.line + 3:
            return None
        if _called(call) == "sum" and isinstance(node, ast.BinOp):
            return Division(ast.unparse(term), ast.unparse(node.right), node.lineno)
        if _called(call) in MEANS:
            return Division(ast.unparse(term), _BATCHES, node.lineno)
    return None


def _add_terms(trace: Trace, one: Pass, name: str) -> bool:
    """Add what each batch gave to a sum in one expression: its loss, or its share of right answers."""
    loader = trace.loaders[one.loop.loader]
    terms = _losses(trace, loader, one)
    if len(terms) != len(one.loop.rows) or ".item" not in name and "loss" not in name and "crit" not in name:
        terms = _accuracies(trace, loader, one)
    if len(terms) != len(one.loop.rows):
        return False
    one.grown[name] = tuple(terms)
    one.loop.sizes[_BATCHES] = len(terms)
    return True


def _accuracies(trace: Trace, loader: LoaderSeen, one: Pass) -> list[float]:
    """The share of right answers in each batch, where the script was seen to take just that of one of them."""
    for model in trace.models:
        batches = [
            seen for seen in model.eval_batches
            if seen.loader == loader.number and seen.epoch == one.loop.epoch and isinstance(seen.output, Tensor)
        ]  # fmt: skip
        losses, shares = loss_names(model), []
        for seen in batches:
            target = target_of(seen)
            right = None if target is None else hits_of(seen.output.cpu(), target, losses)
            if right is None:
                break
            shares.append(float(right.float().mean()))
        taken = [
            float(op.out) for seen in model.recorded for op in seen.ops
            if seen.loader == loader.number and op.short == "item" and isinstance(op.out, float)
        ]  # fmt: skip
        first = next(
            (seen for seen in model.recorded if seen.loader == loader.number and isinstance(seen.output, Tensor)), None
        )
        target = None if first is None else target_of(first)
        right = None if first is None or target is None else hits_of(first.output.cpu(), target, losses)
        if shares and right is not None and any(_near(float(right.float().mean()), value) for value in taken):
            return shares
    return []


def _function_around(tree: ast.Module, line: int) -> ast.AST:
    best: ast.AST = tree
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.lineno <= line <= (node.end_lineno or 0):
            best = node
    return best


def _added_to(around: ast.AST) -> set[str]:
    """What is added to, or appended to, in a function."""
    found = set()
    for node in ast.walk(around):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            found.add(ast.unparse(node.target))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Add):
            found |= {name for target in node.targets if (name := ast.unparse(target)) == ast.unparse(node.value.left)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            found.add(ast.unparse(node.func.value))
    return found


def _bare(node: ast.expr) -> str:
    """A counter without what changes only its unit or type: ``100 * correct.item()`` is ``correct``."""
    while True:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            node = node.right if isinstance(node.left, ast.Constant) else node.left
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("float", "int")
            and node.args
        ):
            node = node.args[0]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("item", "double", "float", "cpu")
        ):
            node = node.func.value
        elif isinstance(node, ast.Call) and _called(node) == "sum" and len(node.args) == 1:
            return ast.unparse(node.args[0])
        else:
            return ast.unparse(node)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _judge(trace: Trace, division: Division, passes: list[Pass], place: Place) -> Finding | None:
    name = division.name
    if passes and name not in passes[-1].grown and f"{name}[-1]" in _listed(passes[-1]):
        name = f"{name}[-1]"
    ready = [one for one in passes if name in one.grown or name.endswith("[-1]")]
    if not ready:
        return None
    loader = trace.loaders[ready[-1].loop.loader]
    kinds = {_kind(trace, loader, one, name) for one in ready} - {"other"}  # of some passes the losses were not kept
    kind = kinds.pop() if len(kinds) == 1 else "other"
    if kind not in ("count", "sum", "mean"):
        return None
    found = None
    if not name.endswith("[-1]"):
        found = _never_reset(loader, division, ready, place, kind) or _wrong_below(loader, division, ready, place, kind)
    return found or _unequal(loader, division, ready, place, kind)


def _listed(one: Pass) -> set[str]:
    return {name for values in one.loop.values for name in values}


def _steps(one: Pass, name: str) -> tuple[float, ...]:
    """What was added at each batch: to a number, or as a new entry of a list."""
    if name.endswith("[-1]"):
        return tuple(values[name] for values in one.loop.values if name in values)
    return one.grown[name]


def _kind(trace: Trace, loader: LoaderSeen, one: Pass, name: str) -> Kind:
    """What a counter counts, by what it grew by at each batch."""
    steps, rows = _steps(one, name), one.loop.rows
    if len(steps) != len(rows) or not any(steps):
        return "other"
    if name.endswith("[-1]"):
        counts = one.grown.get(f"len({name.removesuffix('[-1]')})", ())
        if any(count != 1 for count in counts) or not counts:
            return "other"
    whole = all(step == int(step) for step in steps)
    if whole and all(step == size for step, size in zip(steps, rows, strict=True)):
        return "rows"
    if whole and all(step == 1 for step in steps):
        return "batches"
    if whole and all(0 <= step <= size for step, size in zip(steps, rows, strict=True)):
        return "count"
    losses = _losses(trace, loader, one)
    if losses and all(_near(step, value) for step, value in zip(steps, losses, strict=False)):
        return "mean"
    if losses and all(_near(step, value * size) for step, value, size in zip(steps, losses, rows, strict=False)):
        return "sum"
    shares = all(
        0 <= step <= 1 and _near(step * size, round(step * size)) for step, size in zip(steps, rows, strict=True)
    )
    return "mean" if shares and not whole else "other"


def _losses(trace: Trace, loader: LoaderSeen, one: Pass) -> list[float]:
    """The mean losses of the batches of a pass, in order, as far as they were kept."""
    found = []
    for model in trace.models:
        batches = [*model.eval_batches, *model.first_eval, *model.batches]
        seen = {
            (batch.turn, batch.event): batch
            for batch in batches
            if batch.loader == loader.number and batch.epoch == one.loop.epoch
        }
        for _, batch in sorted(seen.items()):
            own = [loss for loss in batch.losses if loss.value is not None and _is_mean(loss)]
            if len(own) != 1 or own[0].value is None:
                break
            found.append(own[0].value)
        if found:
            return found
    return []


def _is_mean(loss: object) -> bool:
    module, options = getattr(loss, "module", None), getattr(loss, "options", {})
    return getattr(module, "reduction", options.get("reduction", "mean")) == "mean"


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)


def _below(one: Pass, division: Division) -> float | None:
    """What a counter is divided by, in one pass."""
    text = division.below
    for wrapper in ("float(", "int("):
        if text.startswith(wrapper) and text.endswith(")"):
            text = text[len(wrapper) : -1]
    try:
        return float(text)
    except ValueError:
        pass
    return one.loop.sizes.get(text, one.loop.end.get(text))


def _unequal(loader: LoaderSeen, division: Division, passes: list[Pass], place: Place, kind: Kind) -> Finding | None:
    """A mean of the means of batches of different sizes."""
    if loader.used or kind != "mean":
        return None
    name = division.name
    worst, shown, exact = 0.0, 0.0, 0.0
    for one in passes:
        steps, rows = _steps(one, name), one.loop.rows
        if len(set(rows)) < 2 or _below(one, division) != len(rows):
            continue
        plain = sum(steps) / len(steps)
        true = sum(step * size for step, size in zip(steps, rows, strict=True)) / one.total
        least = SHOWN_ACCURACY if all(0 <= step <= 1 for step in steps) else SHOWN_LOSS * abs(true)
        if abs(plain - true) >= least and abs(plain - true) > worst:
            worst, shown, exact = abs(plain - true), plain, true
    if not worst:
        return None
    rows = passes[-1].loop.rows
    weight = max(rows) / min(rows)
    return finding(
        "E03",
        evidence=(
            f"`{name.removesuffix('[-1]')}` adds up the means of {len(rows)} batches and is divided by {len(rows)}, but the batches hold "
            f"{max(rows)} to {min(rows)} samples: one of the smallest counts {weight:.1f} times as much as others. Shown "
            f"{shown:.4f}, exact {exact:.4f}"
        ),
        cure="total += value * len(labels); count += len(labels); at the end total / count",
        place=Place(place.file, division.line),
        severity="warning" if weight >= 1.5 else "note",
    )


def _never_reset(
    loader: LoaderSeen, division: Division, passes: list[Pass], place: Place, kind: Kind
) -> Finding | None:
    """A counter that goes on from where the pass before had ended."""
    name = division.name
    for before, now in zip(passes, passes[1:], strict=False):
        if now.loop.epoch != before.loop.epoch + 1 or not now.loop.start.get(name):
            continue
        if now.loop.start[name] != before.loop.end.get(name) or not before.loop.end[name]:
            continue
        below, grew = _below(now, division), now.grown.get(division.below)
        own = sum(grew) if grew is not None else below
        goes_on = grew is not None and now.loop.start.get(division.below) == before.loop.end.get(division.below) != 0
        if not below or not own or (loader.used and goes_on):
            continue  # over training one may want the mean of all that was seen
        shown, exact = now.loop.end[name] / below, sum(now.grown[name]) / own
        if abs(shown - exact) < 1e-9:
            continue
        also = f" and `{division.below}`" if goes_on else ""
        return finding(
            "E03",
            title="A counter is not reset",
            evidence=(
                f"`{name}`{also} begins pass {now.loop.epoch + 1} over the loader at {now.loop.start[name]:.4g}, where pass "
                f"{before.loop.epoch + 1} had ended: `{name} / {division.below}` is {shown:.4f}, of this pass alone {exact:.4f}"
            ),
            cure=f"{name} = 0 at the start of each pass" + (f", and {division.below} = 0" if goes_on else ""),
            place=Place(place.file, division.line),
        )
    return None


def _wrong_below(
    loader: LoaderSeen, division: Division, passes: list[Pass], place: Place, kind: Kind
) -> Finding | None:
    """A sum over samples divided by the number of batches, a sum of means by that of samples, a count by another number."""
    one, name = passes[-1], division.name
    below, batches = _below(one, division), len(one.loop.rows)
    if not below or below == (batches if kind == "mean" else one.total) or division.below in one.grown:
        return None
    steps = _steps(one, name)
    if kind == "mean" and below == one.total and not division.below.isdigit():
        right, what = (
            sum(s * r for s, r in zip(steps, one.loop.rows, strict=True)) / one.total,
            "adds up one mean for each batch",
        )
    elif kind in ("count", "sum") and (below == batches or _is_a_length(division.below)):
        right, what = sum(steps) / one.total, "adds up over the samples"
    else:
        return None
    shown = sum(steps) / below
    if _near(shown, right):
        return None
    return finding(
        "E03",
        title="A sum is divided by the wrong number",
        evidence=(
            f"`{name}` {what} ({batches} batches, {one.total} samples) and is divided by `{division.below}`, which is {below:.0f}: "
            f"shown {shown:.4g}, right {right:.4g}"
        ),
        cure=(
            f"{name} += value * len(labels), or divide by the number of batches"
            if kind == "mean"
            else "Divide by the number of samples that were counted, as count += len(labels) gives it."
        ),
        place=Place(place.file, division.line),
    )


def _is_a_length(text: str) -> bool:
    """Whether a denominator is a length or a number written out, so that it can only be meant as that of the samples."""
    return text.startswith("len(") or text.replace(".", "", 1).isdigit()


RULES = (averages,)
