"""Metrics that are written with NumPy, where no operation of torch is seen: read from the source (E02).

What an output is, logits or probabilities and of which shape, was seen; what becomes of it stands in the function that
called the model.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.flows import short
from netwright.watch.rules.metrics import Looked, looks
from netwright.watch.rules.replays import OF_CLASSES, OF_PROBABILITIES, WITH_LOGITS
from netwright.watch.scene import place_of
from netwright.watch.trace import Trace

LEAVES_TORCH = frozenset({"numpy", "tolist", "__array__", "asarray"})
KEEPS = frozenset({"detach", "cpu", "numpy", "float", "double", "data", "clone", "astype", "copy", "tolist", "to"})
FLATTENS = frozenset({"squeeze", "ravel", "flatten", "view", "reshape"})
GATHERS = frozenset({"concatenate", "vstack", "stack", "cat", "array", "asarray", "hstack"})


@dataclass(slots=True)
class Flow:
    """Names that hold the output's own numbers: as they were, or flattened.

    Attributes:
        models: Names of the model.
        line: Where it is called.
    """

    models: frozenset[str]
    line: int
    whole: set[str] = field(default_factory=set)
    flat: set[str] = field(default_factory=set)

    def state(self, node: ast.expr) -> str:
        """``whole``, ``flat`` or nothing, for an expression."""
        name = ast.unparse(node)
        if name in self.whole or name in self.flat:
            return "whole" if name in self.whole else "flat"
        if isinstance(node, ast.Subscript):
            return "flat" if self.state(node.value) else ""
        if isinstance(node, ast.Attribute):
            return self.state(node.value) if node.attr in KEEPS else ""
        if not isinstance(node, ast.Call):
            return ""
        if ast.unparse(node.func) in self.models and node.lineno <= self.line <= (node.end_lineno or 0):
            return "whole"
        if isinstance(node.func, ast.Attribute):
            inner = self.state(node.func.value)
            if inner and node.func.attr in KEEPS:
                return inner
            if inner and node.func.attr in FLATTENS:
                return "flat"
            if node.func.attr in GATHERS | FLATTENS and node.args:
                found = self.state(node.args[0])
                return "flat" if found and (node.func.attr in FLATTENS or node.func.attr == "hstack") else found
        return ""


def written_metrics(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E02: argmax over one column or a threshold for probabilities, of outputs that have become arrays."""
    told: set[int] = set()
    for look in looks(trace):
        place = place_of(trace, look.seen)
        tree = trace.sources.tree(place.file) if place is not None else None
        leaves = any(step.raw and short(step.op) in LEAVES_TORCH for step in look.steps)
        if look.training or not leaves or tree is None or place is None:
            continue
        for found in _read(look, tree, place):
            if found.line is not None and found.line not in told:
                told.add(found.line)
                yield found


def _read(look: Looked, tree: ast.Module, place: Place) -> Iterator[Finding]:
    around: ast.AST = tree
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.lineno <= place.line <= (
            node.end_lineno or 0
        ):
            around = node
    flow = Flow(frozenset(look.model.names), place.line)
    inside = [
        node
        for node in ast.walk(around)
        if isinstance(node, (ast.stmt, ast.expr)) and (node.end_lineno or 0) >= place.line
    ]
    for node in sorted(inside, key=lambda one: (one.lineno, isinstance(one, ast.stmt))):
        if isinstance(node, (ast.Call, ast.Compare)):
            yield from _judge(look, flow, node, place.file)
        elif isinstance(node, ast.Assign):
            _assign(flow, node)
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
        ):
            call, owner = node.value, node.value.func.value
            if call.func.attr in ("append", "extend") and call.args:  # type: ignore[attr-defined]
                _put(flow, ast.unparse(owner), flow.state(call.args[0]))


def _assign(flow: Flow, node: ast.Assign) -> None:
    state = flow.state(node.value)
    for target in node.targets:
        if isinstance(target, (ast.Name, ast.Attribute)):
            _put(flow, ast.unparse(target), state)


def _put(flow: Flow, name: str, state: str) -> None:
    flow.whole.discard(name)
    flow.flat.discard(name)
    if state:
        (flow.whole if state == "whole" else flow.flat).add(name)


def _judge(look: Looked, flow: Flow, node: ast.Call | ast.Compare, file: str) -> Iterator[Finding]:
    output: Tensor = look.seen.output
    place = Place(file, node.lineno)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        of = (
            node.args[0]
            if node.args and not flow.state(getattr(node.func, "value", node))
            else getattr(node.func, "value", None)
        )
        state = flow.state(of) if isinstance(of, ast.expr) else ""
        if name == "argmax" and state == "whole" and output.ndim == 2 and output.shape[1] == 1 and _last_axis(node):
            yield finding(
                "E02",
                evidence=(
                    f"`{ast.unparse(node)}` of outputs of shape {tuple(output.shape)} takes the largest of one "
                    "number: all predictions are 0, "
                    "whatever the network says"
                ),
                cure="predicted = outputs > 0 for logits, > 0.5 for probabilities",
                place=place,
            )
        elif name in ("round", "rint") and state and not node.args[1:]:
            yield from _threshold(look, "rounding", place)
    elif len(node.ops) == 1 and isinstance(node.ops[0], (ast.Gt, ast.GtE, ast.Lt, ast.LtE)) and flow.state(node.left):
        right = node.comparators[0]
        if isinstance(right, ast.Constant) and right.value == 0.5:
            yield from _threshold(look, "the threshold of 0.5", place)


def _last_axis(node: ast.Call) -> bool:
    given = [*node.args, *(one.value for one in node.keywords if one.arg in ("axis", "dim"))]
    return any(ast.unparse(one) in ("1", "-1") for one in given)


def _threshold(look: Looked, what: str, place: Place) -> Iterator[Finding]:
    values = look.seen.output.detach().float()
    logits = look.losses & WITH_LOGITS
    if not logits or look.losses & (OF_PROBABILITIES | OF_CLASSES) or not bool(((values < 0) | (values > 1)).any()):
        return
    between = int(((values > 0) & (values <= 0.5)).sum())
    yield finding(
        "E02",
        evidence=(
            f"{what} is applied to logits (trained with {sorted(logits)[0]}), which go from "
            f"{float(values.min()):.2f} to "
            f"{float(values.max()):.2f}; as a probability 0.5 of a logit is 0.62. {between} of {values.numel()} "
            "answers in this batch lie "
            "between and are called negative"
        ),
        cure="predicted = (outputs > 0), or a sigmoid before it",
        place=place,
    )


RULES = (written_metrics,)
