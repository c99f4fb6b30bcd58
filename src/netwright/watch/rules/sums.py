"""What loops over a loader add up at each batch, and what the source divides that by.

What a counter grew by was read while the loop ran; what it is divided by stands in the function of the loop.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass

from torch import Tensor

from netwright.checks.sourcecode import Place, Sources
from netwright.watch.rules.replays import hits_of, loss_names, target_of
from netwright.watch.scene import LoopSeen
from netwright.watch.trace import LoaderSeen, Trace

BATCHES = "the number of batches"
MEANS = frozenset({"mean", "fmean", "average", "nanmean"})


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


def grown_by(loop: LoopSeen) -> Pass:
    """What each counter of a pass grew by at each batch."""
    names = {name for one in loop.values for name in one}
    grown = {}
    for name in names:
        marks = [loop.start.get(name, 0.0), *(one.get(name, math.nan) for one in loop.values)]
        steps = tuple(after - before for before, after in zip(marks, marks[1:], strict=False))
        if not any(math.isnan(one) for one in steps):
            grown[name] = steps
    return Pass(loop, grown)


def divisions(sources: Sources, place: Place) -> list[Division]:
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


def in_one_expression(sources: Sources, place: Place) -> Division | None:
    """``sum(value for … in loader) / number`` at a line, or a mean of such values, each a mean of its batch."""
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
            return Division(ast.unparse(term), BATCHES, node.lineno)
    return None


def add_terms(trace: Trace, one: Pass, name: str) -> bool:
    """Add what each batch gave to a sum in one expression: its loss, or its share of right answers."""
    loader = trace.loaders[one.loop.loader]
    terms = losses_of(trace, loader, one)
    if len(terms) != len(one.loop.rows) or ".item" not in name and "loss" not in name and "crit" not in name:
        terms = _accuracies(trace, loader, one)
    if len(terms) != len(one.loop.rows):
        return False
    one.grown[name] = tuple(terms)
    one.loop.sizes[BATCHES] = len(terms)
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
        if shares and right is not None and any(near(float(right.float().mean()), value) for value in taken):
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


def losses_of(trace: Trace, loader: LoaderSeen, one: Pass) -> list[float]:
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


def near(one: float, other: float) -> bool:
    """Whether two figures are equal but for rounding."""
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
