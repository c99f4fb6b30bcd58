"""What became of a model's output after a forward pass: the operations that it went through, one after another.

``tags`` are whole numbers laid out as the output is; moved as the output was, they show which of its numbers stands
where.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from netwright.checks.optrace import Op, tensors_in

MOVES = frozenset(
    {
        "view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "movedim", "swapaxes", "contiguous",
        "squeeze", "unsqueeze", "__getitem__", "expand", "expand_as", "view_as", "reshape_as", "ravel",
        "select", "narrow",
    }
)  # fmt: skip
# The same number at the same place, as far as order and classes go.
KEEPS = frozenset(
    {
        "float",
        "double",
        "half",
        "bfloat16",
        "to",
        "cpu",
        "detach",
        "clone",
        "type",
        "type_as",
        "cuda",
        "numpy",
        "data.__get__",
    }
)
COMPARES = frozenset({"eq", "__eq__", "ne", "__ne__"})
LONGEST = 40  # operations between an output and what is made of it


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on something that was made of the output.

    Attributes:
        op: The operation; ``at`` its place in the list.
        tensor: The one among its arguments that was made of the output.
        path: The operations from the output to that tensor.
    """

    op: Op
    at: int
    tensor: Tensor
    path: tuple[Op, ...]

    @property
    def raw(self) -> bool:
        """Whether the tensor holds the output's own numbers, at most moved."""
        return all(short(one) in MOVES | KEEPS for one in self.path)


def short(op: Op) -> str:
    """An operation's name without its owner; ``data.__get__`` stays whole."""
    return "data.__get__" if op.name.endswith("data.__get__") else op.short


def steps(ops: list[Op], source: Tensor | None) -> list[Step]:
    """The operations on a tensor, which is known by its values, and on all that is made of it."""
    if source is None:
        return []
    paths: dict[int, tuple[Op, ...]] = {}
    made: set[int] = set()
    found = []
    for at, op in enumerate(ops):
        given = op.tensors()
        for one in given:
            if id(one) not in paths and id(one) not in made and _is(one, source):
                paths[id(one)] = ()
        kin = next((one for one in given if id(one) in paths and len(paths[id(one)]) < LONGEST), None)
        if kin is not None:
            found.append(Step(op, at, kin, paths[id(kin)]))
        for one in tensors_in(op.out):
            made.add(id(one))
            if kin is not None and not any(one is other for other in given):
                paths[id(one)] = (*paths[id(kin)], op)
    return found


def _is(one: Tensor, source: Tensor) -> bool:
    if one.shape != source.shape or one.dtype != source.dtype or one.device != source.device:
        return False
    return bool(torch.equal(one.detach(), source))


def after(found: Iterable[Step], op: Op) -> list[Step]:
    """The steps on what one operation gave, directly or past others."""
    return [one for one in found if any(before is op for before in one.path)]


def others(step: Step) -> list[Tensor]:
    """The tensors among the arguments that are not the one made of the output."""
    return [one for one in step.op.tensors() if one is not step.tensor]


def axis(op: Op, *, position: int = 1) -> int | None:
    """The axis that an operation works along, from 0; None where none was given."""
    given = op.argument(position, "dim", op.kwargs.get("axis"))
    if not isinstance(given, int) or isinstance(given, bool) or not op.shapes:
        return None
    return given % len(op.shapes[0]) if op.shapes[0] else None


def tags(shape: Iterable[int]) -> Tensor:
    """0, 1, 2 … laid out in a shape."""
    sizes = tuple(shape)
    return torch.arange(reduce(lambda a, b: a * b, sizes, 1)).reshape(sizes)


def moved(values: Tensor, path: Iterable[Op]) -> Tensor | None:
    """Tags after the moves of a path; None where something of it is no move."""
    for op in path:
        name = short(op)
        if name in KEEPS or (tuple(values.shape) == _shape(op.out) and name not in MOVES):
            continue
        if name not in MOVES:
            return None
        function = getattr(torch.Tensor, name, None)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = function(values, *op.args[1:], **op.kwargs)  # type: ignore[misc]
        except Exception:
            return None
        if tuple(values.shape) != _shape(op.out):
            return None
    return values


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def class_axis(values: Tensor, shape: tuple[int, ...]) -> int | None:
    """The axis of the output along which numbers lie that are compared with each other.

    Args:
        values: Tags, (..., C): those that are compared stand along the last axis.
        shape: Of the output.
    """
    rows = values.reshape(-1, values.shape[-1])[:4]
    found = set()
    for row in rows:
        places = torch.stack(torch.unravel_index(row, shape))
        varies = [at for at, one in enumerate(places) if len(one.unique()) > 1]
        if len(varies) != 1:
            return None
        found.add(varies[0])
    return found.pop() if len(found) == 1 else None
