"""Inputs and columns that forward takes and does not use (K5, M25).

Each is replaced in several ways, on copies whose weights were moved a little, so that a gate that starts at zero hides
nothing; only what never changes anything that comes back counts.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.gradients import shaken
from netwright.checks.leaves import parts_that_differ, returned_tensors
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place, file_of
from netwright.checks.subject import Inputs, NotCheckedError, Subject
from netwright.records import Finding

MOST_COLUMNS = 512


def _others(value: Tensor) -> Iterator[Tensor]:
    """Other values that an input could have: of other samples, and of its range."""
    generator = torch.Generator().manual_seed(3)
    yield value.flip(0)
    if value.dtype == torch.bool:
        flipped = value.clone()
        flipped.reshape(len(value), -1)[:, -1] ^= True
        yield flipped
        yield torch.rand(value.shape, generator=generator) < 0.7
        return
    if value.is_floating_point():
        yield value + (torch.randn(value.shape, generator=generator) * (float(value.std()) or 1.0)).to(value.dtype)
        yield torch.zeros_like(value)
        return
    low, high = int(value.min()), int(value.max())
    if high > low:
        yield torch.randint(low, high + 1, value.shape, generator=generator).to(value.dtype)
    if low >= 0:
        yield (value - 1).clamp_min(min(1, low))
        yield (value // 2).clamp_min(min(1, low))
    if low == high:
        yield torch.where(torch.rand(value.shape, generator=generator) < 0.3, torch.zeros_like(value), value)


def _jittered(subject: Subject, *, train: bool) -> nn.Module:
    """A copy with slightly other weights."""
    model = subject.fresh(train=train)
    try:
        shaken(model, [name for name, _ in model.named_parameters()])
    except RuntimeError as error:
        raise NotCheckedError("weights of the module cannot be changed") from error
    return model


def ignored_inputs(subject: Subject) -> Iterator[Finding]:
    """M25 of whole inputs."""
    if len(subject.pool) < 2:
        return
    inputs, _ = subject.rows()
    unused = [name for name in inputs if not _declared_unused(subject.model, name)]
    tried: dict[str, int] = dict.fromkeys(unused, 0)
    for train in (False, True):
        if not unused:
            return
        unused = [name for name in unused if not _matters(subject, inputs, name, tried, train=train)]
    if not unused or len(unused) == len(inputs):
        return  # nothing matters at all: the answer is constant, which has other causes
    names = [name for name in unused if tried[name]]
    for name in names:
        others = [one for one in inputs if one not in unused]
        yield finding(
            "M25",
            evidence=(
                f"I replaced `{name}` of your batch in {tried[name]} ways (those of other samples, other values of "
                "its range), in "
                f"train and eval mode and with moved weights: nothing that the module returns changed by one bit. "
                f"`{others[0]}` does change it."
            ),
            cure=(
                f"Use `{name}` in forward, or take the parameter out (del {name} at its start says that this is meant)."
            ),
            place=_parameter_place(subject.model, name),
        )


def _matters(subject: Subject, inputs: Inputs, name: str, tried: dict[str, int], *, train: bool) -> bool:
    """Whether any other value of an input changes anything that comes back."""
    model = _jittered(subject, train=train)
    before = subject.call(model, inputs, seed=1)
    if not returned_tensors(before):
        raise NotCheckedError("nothing of floats comes back")
    if train and parts_that_differ(before, subject.call(_jittered(subject, train=True), inputs, seed=1)) > 0:
        return False  # answers differ without a cause: nothing can be told in this mode
    for other in _others(inputs[name]):
        if torch.equal(other, inputs[name]):
            continue
        tried[name] += 1
        fresh = _jittered(subject, train=train)
        try:
            after = subject.call(fresh, {**inputs, name: other}, seed=1)
        except NotCheckedError:
            return True  # it raises: so it is read
        if parts_that_differ(before, after) != 0.0 or _unlike(before, after):
            return True
    return False


def _unlike(one: Any, other: Any) -> bool:
    """Whether NaN stands at other places."""
    return any(
        not torch.equal(torch.isnan(a), torch.isnan(b))
        for a, b in zip(returned_tensors(one), returned_tensors(other), strict=False)
    )


def _declared_unused(model: nn.Module, name: str) -> bool:
    """Whether the source says that a parameter is not used: ``_name``, or ``del name`` in forward."""
    if name.startswith("_"):
        return True
    function = _forward(model)
    return function is not None and any(
        isinstance(node, ast.Delete) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets)
        for node in ast.walk(function)
    )


def _forward(model: nn.Module) -> ast.FunctionDef | None:
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(type(model).forward)))
    except (OSError, TypeError, SyntaxError):
        return None
    first = tree.body[0] if tree.body else None
    return first if isinstance(first, ast.FunctionDef) else None


def _parameter_place(model: nn.Module, name: str) -> Place | None:
    """The line where the value that should have been used is overwritten or the parameter stands."""
    del name
    return class_place(type(model), "forward") if file_of(type(model)) else None


def ignored_columns(subject: Subject) -> Iterator[Finding]:
    """M25 of columns of a table: those whose values never change the answer."""
    table = _table(subject)
    if table is None:
        return
    name, value = table
    inputs, _ = subject.rows()
    columns = value.shape[1]
    shuffled = inputs[name].roll(1, 0)
    model = _jittered(subject, train=False)
    before = subject.call(model, inputs, seed=1)
    varied = [at for at in range(columns) if bool((shuffled[:, at] != inputs[name][:, at]).any())]
    unused = []
    for at in varied:
        other = inputs[name].clone()
        other[:, at] = shuffled[:, at] + 0.5
        if parts_that_differ(before, subject.call(model, {**inputs, name: other}, seed=1)) == 0.0:
            unused.append(at)
    if not unused or len(unused) >= len(varied) or _drops_out(subject, name, inputs, unused):
        return
    listed = ", ".join(map(str, unused[:6])) + (" …" if len(unused) > 6 else "")
    yield finding(
        "M25",
        severity="note",  # forward may leave columns out on purpose, as an id
        title="Columns have no effect",
        evidence=(
            f"column {listed} of `{name}` ({len(unused)} of {columns}): I gave each the values of other samples, and "
            "nothing that "
            "the module returns changed"
        ),
        cure="Use them, or leave them out of the data.",
        place=class_place(type(subject.model), "forward"),
    )


def _table(subject: Subject) -> tuple[str, Tensor] | None:
    """The one input that is a table of numbers; None where there is none."""
    tables = [(name, one) for name, one in subject.pool.items() if one.ndim == 2 and one.is_floating_point()]
    if len(tables) != 1 or not 2 <= tables[0][1].shape[1] <= MOST_COLUMNS:
        return None
    return tables[0]


def _drops_out(subject: Subject, name: str, inputs: Inputs, unused: list[int]) -> bool:
    """Whether they do have an effect with yet other weights: units that are dead by chance hide a column."""
    for seed in (7, 8):
        model = subject.fresh()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for one in model.parameters():
                if one.is_floating_point():
                    size = float(one.abs().mean()) + 0.1
                    one.add_((torch.randn(one.shape, generator=generator) * size).to(one.dtype))
        before = subject.call(model, inputs, seed=1)
        other = inputs[name].clone()
        other[:, unused] = other[:, unused].roll(1, 0) + 0.7
        if parts_that_differ(before, subject.call(model, {**inputs, name: other}, seed=1)) > 0:
            return True
    return False


CHECKS: tuple[Check, ...] = (
    Check("inputs without an effect", ("M25",), ignored_inputs, most_s=4.0),
    Check("columns without an effect", ("M25",), ignored_columns, most_s=2.0),
)
