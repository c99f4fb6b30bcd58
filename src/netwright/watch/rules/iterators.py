"""An exhausted iterator was handed over (O06): what an optimizer has read to its end gives nothing to anybody else."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.story import ancestors
from netwright.watch.trace import Event, IteratorSeen, Trace

READERS = frozenset(
    {
        "list", "tuple", "set", "sum", "any", "all", "max", "min", "sorted", "next", "enumerate", "zip", "map",
        "filter", "chain", "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "frozenset",
        "deque", "fsum", "reduce",
    }
)  # fmt: skip
CLIPS = ("clip_grad_norm_", "clip_grad_value_")


def exhausted(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """O06: iterators of parameters that gave nothing: at clipping, at an optimizer, or read again in the source."""
    told: set[Place] = set()
    clips: dict[Place | None, list[Event]] = defaultdict(list)
    for event in trace.of("clip"):
        if event.facts["exhausted"]:
            clips[event.place].append(event)
    for place, events in clips.items():
        if place is not None:
            told.add(place)
        yield _clipped(trace, place, events)
    for optimizer in trace.optimizers:
        for one in optimizer.iterators:
            if one.count == 0:
                yield _empty_group(one)
            elif one.names:
                uses = [use for use in _uses(trace, one) if use not in told]
                if uses and not any(_in_call(trace, place, one) for place in told):
                    told.update(uses)
                    yield _read_again(trace, one, uses)


def _clipped(trace: Trace, place: Place | None, events: list[Event]) -> Finding:
    norms = [event.facts["norm"] for event in trace.of("step") if "norm" in event.facts]
    kind, function, limit = (events[0].facts[name] for name in ("exhausted", "function", "limit"))
    norm = f" Steps were made with gradients of norm up to {max(norms):.3g}; the limit is {limit}." if norms else ""
    source = next((one for seen in trace.optimizers for one in seen.iterators if one.kind == kind and one.names), None)
    name = source.names[0] if source is not None else "params"
    made = f" The optimizer at line {source.place.line} has read it to its end." if source and source.place else ""
    return finding(
        "O06",
        place=place,
        evidence=f"{function} got 0 parameters in {len(events)} calls, from a {kind} that was read before.{made}{norm}",
        cure=f"{name} = list({name})  # where it is made: a list can be read again and again",
    )


def _empty_group(one: IteratorSeen) -> Finding:
    name = one.names[0] if one.names else "params"
    return finding(
        "O06",
        place=one.place,
        evidence=f"A parameter group of the optimizer is empty: the {one.kind} it was given had been read before.",
        cure=f"{name} = list({name})  # where it is made: a list can be read again and again",
    )


def _read_again(trace: Trace, one: IteratorSeen, uses: list[Place]) -> Finding:
    ran = any(_surely_ran(trace, use) for use in uses)
    lines = " and ".join(str(use.line) for use in uses[:3])
    return finding(
        "O06",
        place=uses[0],
        severity="error" if ran else "warning",
        evidence=(
            f"`{one.names[0]}` is a {one.kind}, and the optimizer at line {one.place.line if one.place else '?'} read "
            f"its {one.count} parameters to the end. Line {lines} reads it again and gets none."
        ),
        cure=f"{one.names[0]} = list({one.names[0]})  # where it is made: a list can be read again and again",
    )


def _uses(trace: Trace, one: IteratorSeen) -> list[Place]:
    """Lines that iterate over the same variable after the optimizer was made."""
    if one.place is None:
        return []
    tree = trace.sources.tree(one.place.file)
    if tree is None:
        return []
    found: list[int] = []
    for name in one.names:
        whole = _class_around(tree, one.place.line) if name.startswith("self.") else None
        scope: ast.AST = whole or _function(tree, one.function, one.place.line) or tree
        for node in ast.walk(scope):
            if _named(node, name) and _iterates(tree, node) and _after(scope, node, name, one.place.line):
                found.append(node.lineno)  # type: ignore[attr-defined]
    return [Place(one.place.file, line) for line in sorted(set(found))]


def _named(node: ast.AST, name: str) -> bool:
    if name.startswith("self."):
        return (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
            and node.attr == name[5:]
        )
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id == name


def _after(scope: ast.AST, node: ast.AST, name: str, made: int) -> bool:
    """Whether a use comes after the optimizer was made and before the name is given another value."""
    line: int = node.lineno  # type: ignore[attr-defined]
    statement = next((one for one in ancestors(node) if isinstance(one, ast.stmt)), None)
    if (
        statement is not None
        and statement.lineno <= made <= (statement.end_lineno or made)
        and not isinstance(statement, (ast.For, ast.While, ast.With, ast.If, ast.FunctionDef))
    ):
        return False
    if name.startswith("self."):
        return line != made
    if line <= made:
        return False
    return not any(
        isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store) and one.id == name and made < one.lineno <= line
        for one in ast.walk(scope)
    )


def _iterates(tree: ast.Module, node: ast.AST, *, deep: bool = True) -> bool:
    """Whether the parent of a name goes through it: a loop, ``sum``, ``list`` …, or a function of the person's."""
    parent = getattr(node, "parent", None)
    if isinstance(parent, ast.Starred):
        return True
    if isinstance(parent, (ast.For, ast.AsyncFor, ast.comprehension)):
        return parent.iter is node
    if isinstance(parent, ast.keyword):
        keyword, parent = parent.arg, getattr(parent, "parent", None)
    else:
        keyword = None
    if not isinstance(parent, ast.Call) or node is parent.func:
        return False
    called = parent.func.attr if isinstance(parent.func, ast.Attribute) else getattr(parent.func, "id", "")
    if called in READERS:
        return True
    return deep and _handed_on(tree, parent, called, node, keyword)


def _handed_on(tree: ast.Module, call: ast.Call, name: str, node: ast.AST, keyword: str | None) -> bool:
    """Whether a function or class of the same file iterates over the argument."""
    for one in ast.walk(tree):
        function: ast.AST | None = one
        shift = 0
        if isinstance(one, ast.ClassDef) and one.name == name:
            function = next((f for f in one.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
            shift = 1
        if not isinstance(function, ast.FunctionDef) or (one is function and function.name != name):
            continue
        arguments = [argument.arg for argument in function.args.args]
        if shift == 0 and arguments[:1] == ["self"]:
            shift = 1
        at = next((at for at, argument in enumerate(call.args) if argument is node), None)
        if keyword is None and (at is None or at + shift >= len(arguments)):
            continue
        inner = keyword or arguments[(at or 0) + shift]
        if any(_named(each, inner) and _iterates(tree, each, deep=False) for each in ast.walk(function)):
            return True
    return False


def _function(tree: ast.Module, name: str, line: int) -> ast.AST | None:
    around = [
        one
        for one in ast.walk(tree)
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) and one.lineno <= line <= (one.end_lineno or 0)
    ]
    named = [one for one in around if one.name == name]
    return max(named, key=lambda one: one.lineno, default=None)


def _class_around(tree: ast.Module, line: int) -> ast.AST | None:
    around = [
        one for one in ast.walk(tree) if isinstance(one, ast.ClassDef) and one.lineno <= line <= (one.end_lineno or 0)
    ]
    return max(around, key=lambda one: one.lineno, default=None)


def _surely_ran(trace: Trace, use: Place) -> bool:
    """Whether something was seen to happen in the loop or function around a line."""
    tree = trace.sources.tree(use.file)
    if tree is None:
        return False
    lines = {event.place.line for event in trace.events if event.place is not None and event.place.file == use.file}
    here = [node for node in ast.walk(tree) if isinstance(node, ast.expr) and node.lineno == use.line]
    blocks: Iterable[ast.AST] = ancestors(here[0]) if here else ()
    for block in blocks:
        if isinstance(block, (ast.For, ast.While, ast.FunctionDef)):
            return any(block.lineno < line <= (block.end_lineno or 0) for line in lines)
    return True  # at the top of the module


def _in_call(trace: Trace, place: Place, one: IteratorSeen) -> bool:
    """Whether a clip that was told of already got the same iterator through a function's argument."""
    return (
        any(event.facts["exhausted"] == one.kind for event in trace.of("clip") if event.place == place)
        and one.place is not None
    )


RULES = (exhausted,)
