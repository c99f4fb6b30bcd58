"""Tensors that forward changes in place though others need them: inputs, constants, residuals (M26).

Told by values before and after, and by what a second pass over the same samples gives. Running statistics, counters,
queues and caches are states that are meant to change: they depend on the samples, or leave the answer alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netwright.checks.catalogue import finding
from netwright.checks.leaves import parts_that_differ, returned_tensors, training
from netwright.checks.optrace import Op, record, tensors_in
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, Sources, place_of_frame, source_line
from netwright.checks.subject import Inputs, NotCheckedError, Subject, pick
from netwright.records import Finding

AUGMENTED = {"add_": "add", "sub_": "sub", "mul_": "mul", "div_": "div"}  # what x += y, x -= y … call


Drift = tuple[str, float, float, float]  # a name, and the largest value before, after one and after two passes


def writes(op: Op) -> bool:
    """Whether an operation writes to its first argument."""
    short = op.short
    return (
        short in ("__setitem__", "__ior__", "__iand__")
        or (short.endswith("_") and not short.endswith("__"))
        or op.kwargs.get("inplace") is True
        or (short in ("relu", "leaky_relu", "elu", "relu6", "hardtanh", "silu", "dropout") and True in op.args[1:])
    )


def _written(op: Op) -> Tensor | None:
    given = op.tensors()
    return given[0] if given and writes(op) else None


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def changed_inputs(subject: Subject) -> Iterator[Finding]:
    """M26 of the batch itself."""
    inputs, _ = subject.rows()
    seen = training(subject)
    for train in (False, True):
        model = subject.fresh(train=train)
        given = {name: value.clone() for name, value in inputs.items()}
        try:
            first, ops = record(lambda model=model, given=given: subject.call(model, given, seed=1))  # type: ignore[misc]
        except NotCheckedError:
            if train:
                raise
            continue
        changed = [name for name, value in given.items() if not _equal(value, inputs[name])]
        if not changed:
            continue
        if seen is not None and seen.fed:
            return  # what another module returned, and nobody else may need
        yield _input_changed(subject, inputs, given, changed[0], first, ops, train=train)
        return


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.is_floating_point():
        return torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
    return torch.equal(one, other)


def _input_changed(
    subject: Subject, inputs: Inputs, given: Inputs, name: str, first: Any, ops: list[Op], *, train: bool
) -> Finding:
    before, after = inputs[name], given[name]
    again = subject.call(subject.fresh(train=train), {key: value.clone() for key, value in given.items()}, seed=1)
    gap = parts_that_differ(first, again)
    scale = max((float(one.abs().max()) for one in returned_tensors(first) if one.numel()), default=0.0)
    gap = gap if gap > 1e-4 * scale else 0.0
    op = next((one for one in ops if (t := _written(one)) is not None and _memory(t) == _memory(after)), None)
    line = source_line(op.place) if op else ""
    share = float((before != after).float().mean())
    shown = ""
    if before.is_floating_point():
        shown = f" (mean {float(before.mean()):.3g} before, {float(after.mean()):.3g} after)"
    second = f"a second pass over it answers differently by {gap:.3g}" if gap > 0 else "a second pass gives the same"
    return finding(
        "M26",
        severity="error" if gap > 0 else "warning",
        evidence=(
            f"forward wrote to the batch that it was given: {share:.0%} of the values of `{name}` are others after "
            "one pass"
            f"{shown}; {second}." + (f" It happens at `{line[:90]}`." if line else "")
        ),
        cure="Make a new tensor: x = x * 2, in place of x *= 2 or x.mul_(2); or begin with x = x.clone()",
        place=op.place if op else None,
    )


def changed_constants(subject: Subject) -> Iterator[Finding]:
    """M26 of buffers and constants: each pass changes them, whatever the samples are, and so the answer."""
    inputs, _ = subject.rows()
    try:
        passes = [subject.fresh(), subject.fresh()]
        if any(one.training for one in passes[0].modules()):
            return
        one = subject.call(passes[0], _clones(inputs), seed=1)
        two = subject.call(passes[1], _clones(inputs), seed=1)
        outside = parts_that_differ(one, two)
        again = parts_that_differ(one, subject.call(passes[0], _clones(inputs), seed=1))
    except NotCheckedError:
        return
    if outside == 0.0 and again == 0.0:
        return
    if _moves_by_chance(subject, inputs):
        return
    found = _drifting(subject, inputs) if again > 0 else None
    if found is None and outside == 0.0:
        return  # a state that depends on the samples: another check's
    place, line = _writer(subject, inputs, found)
    if found is None and place is None:
        return
    what = f"`{found[0]}`" if found else "a tensor outside of the module"
    numbers = f" Its largest value was {found[1]:.3g}, then {found[2]:.3g}, then {found[3]:.3g}." if found else ""
    yield finding(
        "M26",
        evidence=(
            f"each pass in eval mode changes {what}, in the same way whatever the samples are; the second pass over "
            "the same "
            f"samples differs by {max(again, outside):.3g}.{numbers}"
            + (f" It happens at `{line[:90]}`." if line else "")
        ),
        cure="Compute a new tensor: y = self.constant * 2, in place of y = self.constant; y *= 2",
        place=place,
        layer=found[0].rpartition(".")[0] or None if found else None,
        where=None if place or found else "forward",
    )


def _clones(inputs: Inputs) -> Inputs:
    return {name: value.clone() for name, value in inputs.items()}


def _moves_by_chance(subject: Subject, inputs: Inputs) -> bool:
    """Whether two passes differ because forward draws of generators that no seed reaches (NumPy's, Python's)."""
    import random

    import numpy as np

    answers = []
    for _ in range(2):
        random.seed(0)
        np.random.seed(0)
        answers.append(subject.call(subject.fresh(), _clones(inputs), seed=1))
    if parts_that_differ(*answers) > 0.0:
        return False
    return _writer(subject, inputs, None)[0] is None and _drifting(subject, inputs) is None


def _values(model: nn.Module) -> dict[str, Tensor]:
    """All tensors of floats that a module keeps, by name; and numbers among its attributes."""
    kept: dict[str, Tensor] = dict((*model.named_buffers(), *model.named_parameters()))
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            path = f"{name}.{key}" if name else key
            if isinstance(value, Tensor):
                kept[path] = value
            elif isinstance(value, float):
                kept[path] = torch.tensor(value)
    small = {name: one for name, one in kept.items() if one.is_floating_point() and one.numel() < 10_000_000}
    return {name: one.detach().clone() for name, one in small.items()}


def _drifting(subject: Subject, inputs: Inputs) -> Drift | None:
    """A kept tensor that each pass changes in the same way for other samples: name, and its size in three passes."""
    others = pick(subject.pool, slice(-len(next(iter(inputs.values()))), None))
    mine, theirs = subject.fresh(), subject.fresh()
    start = _values(mine)
    subject.call(mine, _clones(inputs), seed=1)
    subject.call(theirs, others, seed=1)
    once, other = _values(mine), _values(theirs)
    subject.call(mine, _clones(inputs), seed=1)
    twice = _values(mine)
    for name, value in start.items():
        if name not in once or name not in twice or name not in other or once[name].shape != value.shape:
            continue
        still = torch.equal(once[name], value) or torch.equal(once[name], twice[name])
        if still or not _equal(once[name], other[name]):
            continue
        if _is_cause(subject, inputs, name, value):
            return name, float(value.abs().max()), float(once[name].abs().max()), float(twice[name].abs().max())
    return None


def _is_cause(subject: Subject, inputs: Inputs, name: str, start: Tensor) -> bool:
    """Whether the second pass differs less where this tensor is put back before it: a counter changes no answer."""
    gaps = []
    for put_back in (False, True):
        model = subject.fresh()
        first = subject.call(model, _clones(inputs), seed=1)
        if put_back:
            parent, _, key = name.rpartition(".")
            owner = model.get_submodule(parent)
            held = getattr(owner, key)
            if isinstance(held, Tensor):
                with torch.no_grad():
                    held.copy_(start)
            else:
                setattr(owner, key, float(start))
        gaps.append(parts_that_differ(first, subject.call(model, _clones(inputs), seed=1)))
    return gaps[1] < 0.5 * gaps[0]


def _writer(subject: Subject, inputs: Inputs, found: Drift | None) -> tuple[Place | None, str]:
    """The line that writes to a tensor which the module, or nobody in this pass, has made."""
    model = subject.fresh()
    kept = {_memory(one) for one in (*model.buffers(), *model.parameters())}
    kept |= {_memory(one) for module in model.modules() for one in vars(module).values() if isinstance(one, Tensor)}
    given = _clones(inputs)
    _, ops = record(lambda: subject.call(model, given, seed=1))
    made = {_memory(one) for one in given.values()}
    for op in ops:
        target = _written(op)
        if target is not None and _memory(target) not in made and (found is None) == (_memory(target) not in kept):
            return op.place, source_line(op.place)
        made |= {_memory(one) for one in tensors_in(op.out)} - kept
    return None, ""


class _OutOfPlace(TorchFunctionMode):
    """Do operations on hidden values out of place that would write to them; at one line, or at all.

    ``x.add_(y)`` stays as it is: only of ``x += y`` is the result sure to be what x means afterwards.
    """

    def __init__(self, sources: Sources, only: Place | None = None) -> None:
        super().__init__()
        self.sources = sources
        self.only = only
        self.places: dict[Place, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace what writes in place."""
        import sys

        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        written = name in AUGMENTED and isinstance(args[0], Tensor) and not args[0]._is_view()
        flagged = kwargs.get("inplace") is True
        if written or flagged:
            place = place_of_frame(sys._getframe(1))
            known = flagged or isinstance(statement_at(self.sources, place), ast.AugAssign)
            if known and place is not None and (self.only is None or place == self.only):
                self.places[place] = None
                if flagged:
                    kwargs["inplace"] = False
                else:
                    return getattr(args[0], AUGMENTED[name])(*args[1:])
        return func(*args, **kwargs)


def changed_residuals(subject: Subject) -> Iterator[Finding]:
    """M26 of hidden values: written to in place while another name still stands for the old ones."""
    inputs, _ = subject.rows()
    plain = subject.call(subject.fresh(), _clones(inputs), seed=1)
    with _OutOfPlace(subject.sources) as mode:
        healed = subject.call(subject.fresh(), _clones(inputs), seed=1)
    scale = max((float(one.abs().max()) for one in returned_tensors(plain) if one.numel()), default=0.0)
    if not parts_that_differ(plain, healed) > 1e-4 * (scale + 1e-6):
        return
    for place in list(mode.places)[:20]:
        with _OutOfPlace(subject.sources, place):
            healed = subject.call(subject.fresh(), _clones(inputs), seed=1)
        gap = parts_that_differ(plain, healed)
        name = _still_needed(subject.sources, place)
        if gap > 1e-4 * (scale + 1e-6) and name is not None:
            yield finding(
                "M26",
                severity="warning",
                evidence=(
                    f"`{source_line(place)[:90]}` writes to a tensor that `{name}` stands for as well, and `{name}` "
                    "is used "
                    f"afterwards: done out of place, the answers of your batch differ by {gap:.3g}"
                ),
                cure="Make a new tensor: x = x + y in place of x += y; nn.ReLU() in place of nn.ReLU(inplace=True)",
                place=place,
            )
            return


def _home(sources: Sources, place: Place | None) -> ast.FunctionDef | None:
    """The innermost function around a line."""
    tree = sources.tree(place.file) if place is not None else None
    if tree is None or place is None:
        return None
    homes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= place.line <= (node.end_lineno or 0)
    ]
    return max(homes, key=lambda node: node.lineno, default=None)


def statement_at(sources: Sources, place: Place | None) -> ast.stmt | None:
    """The assignment, expression or return at a line."""
    home = _home(sources, place)
    if home is None or place is None:
        return None
    return next(
        (
            one
            for one in ast.walk(home)
            if isinstance(one, (ast.Assign, ast.AugAssign, ast.Expr, ast.Return))
            and one.lineno <= place.line <= (one.end_lineno or one.lineno)
        ),
        None,
    )


def _still_needed(sources: Sources, place: Place) -> str | None:
    """The name under which a tensor that a line writes to is read later; None where there is none."""
    home, statement = _home(sources, place), statement_at(sources, place)
    if home is None or statement is None:
        return None
    targets = _written_names(statement)
    made = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    aliases = targets - made
    for node in ast.walk(home):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and isinstance(node.targets[0], ast.Name):
            pair = {node.targets[0].id, node.value.id}
            if node.lineno < place.line and targets & pair:
                aliases |= pair - targets
    end = statement.end_lineno or statement.lineno
    for node in ast.walk(home):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in aliases and node.lineno > end:
            return node.id
    return None


def _written_names(statement: ast.stmt) -> set[str]:
    """Names of variables that a statement may write to in place: of ``x += …`` and of arguments of calls."""
    if isinstance(statement, ast.AugAssign):
        return {statement.target.id} if isinstance(statement.target, ast.Name) else set()
    return {
        one.id
        for call in ast.walk(statement)
        if isinstance(call, ast.Call)
        for one in call.args
        if isinstance(one, ast.Name)
    }


CHECKS: tuple[Check, ...] = (
    Check("inputs that forward changes", ("M26",), changed_inputs),
    Check("constants that forward changes", ("M26",), changed_constants),
    Check("values that are changed while still needed", ("M26",), changed_residuals),
)
